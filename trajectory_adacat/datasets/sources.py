"""Datasets by name: official D4RL files, collected ones, a user's own, and Minari."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.datasets.d4rl import read_d4rl, split_episodes
from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.environments import COLLECTED_DATASETS
from trajectory_adacat.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Episodes, and what identifies them."""

    name: str
    label: str
    episodes: list[Episode]
    sha256: str
    verified: bool
    environment: str | None
    provenance: dict[str, Any] = field(default_factory=dict)


def load_dataset(name: str, path: str | Path | None = None) -> Dataset:
    """Load a dataset by name."""
    if name not in COLLECTED_DATASETS:
        raise InputError(f"Unknown dataset {name!r}.")
    file = Path(path) if path else collected_path(name)
    if not path and not file.exists():
        collect(name)
    arrays, attributes = read_d4rl(file)
    return Dataset(name, name, split_episodes(arrays), file_sha256(file), True, name, attributes)


def load_episodes(name: str, path: str | Path | None = None) -> list[Episode]:
    """The episodes of :func:`load_dataset`."""
    return load_dataset(name, path).episodes
