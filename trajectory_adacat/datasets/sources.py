"""Datasets by name: official D4RL files, collected ones, a user's own, and Minari's."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect, collected_path, is_collected_as
from trajectory_adacat.datasets.d4rl import read_d4rl, split_episodes
from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.minari import read_minari
from trajectory_adacat.datasets.official import fetch_official, official_file
from trajectory_adacat.environments import COLLECTED_DATASETS, MINARI_PREFIX, OFFICIAL_DATASETS, dataset_robot
from trajectory_adacat.errors import InputError

HDF5_SUFFIXES = (".hdf5", ".h5")
SIZES = {"halfcheetah": (17, 6), "hopper": (11, 3), "walker2d": (17, 6), "ant": (27, 8)}  # observation, action
ANT_V2_OBSERVATION_SIZE = 111  # of which the last 84, contact forces, are zero


@dataclass(frozen=True, eq=False)
class Dataset:
    """Episodes, and what identifies them.

    Args:
        name: as it was asked for.
        label: as it must appear in results and tables: the name; ``<name> (unverified)`` where the file is not what the
            name promises; a user's own file's name.
        episodes: in the file's order.
        sha256: of the file's bytes, or of the arrays of a Minari dataset; in hexadecimal.
        verified: whether an official name's file has the pinned bytes, or a collected one's comes from this package's
            policy in the environment with v2 dynamics; False for all others.
        environment: what to give to ``make_environment``, None where the source does not tell.
        provenance: what the source tells of its origin (the attributes of an HDF5 file).
    """

    name: str
    label: str
    episodes: list[Episode]
    sha256: str
    verified: bool
    environment: str | None
    provenance: dict[str, Any] = field(default_factory=dict)


def load_dataset(name: str, path: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Args:
        name: an official dataset (``hopper-medium-v2``: found in the cache or downloaded), a collected one
            (``hopper-medium-collected``: made on demand), ``minari:`` and a Minari dataset's id, or the path of a
            D4RL-format file (``.hdf5`` or ``.h5``).
        path: a D4RL-format file to read instead of the name's own; with any name that is neither of the above it is a
            dataset of the user's own.

    Raises:
        InputError: if the name is unknown, a file is missing or damaged, holds NaN, infinity or wrong shapes, or a
            download fails.
    """
    file = Path(path).expanduser() if path else None
    if name.startswith(MINARI_PREFIX):
        return _load_minari(name, file)
    if name in OFFICIAL_DATASETS:
        return _load_official(name, file)
    if name in COLLECTED_DATASETS:
        return _load_collected(name, file)
    if file or name.endswith(HDF5_SUFFIXES):
        return _load_own(name, file or Path(name).expanduser())
    near = difflib.get_close_matches(name, OFFICIAL_DATASETS + COLLECTED_DATASETS, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Known are names such as hopper-medium-v2."
    raise InputError(f"Unknown dataset {name!r}. {hint} A file of your own is given by --dataset_path.")


def load_episodes(name: str, path: str | Path | None = None) -> list[Episode]:
    """The episodes of :func:`load_dataset`, with the same arguments and errors."""
    return load_dataset(name, path).episodes


def _load_minari(name: str, path: Path | None) -> Dataset:
    if path:
        raise InputError(
            f"{name} is not read from a file: give no --dataset_path; the variable MINARI_DATASETS_PATH points to the "
            "folder of Minari's datasets."
        )
    episodes, sha256, provenance = read_minari(name.removeprefix(MINARI_PREFIX))
    return Dataset(name, name, episodes, sha256, False, name if provenance["environment"] else None, provenance)


def _load_official(name: str, path: Path | None) -> Dataset:
    path = path or fetch_official(name)
    arrays, attributes = read_d4rl(path)
    sha256 = file_sha256(path)
    verified = sha256 == official_file(name).sha256
    return Dataset(name, _label(name, verified), _split(name, arrays, path), sha256, verified, name, attributes)


def _load_collected(name: str, path: Path | None) -> Dataset:
    file = path or collected_path(name)
    if path is None and not file.exists():
        collect(name)
    arrays, attributes = read_d4rl(file)
    verified = is_collected_as(name, attributes)
    if path is None and not verified:
        raise InputError(f"{file} was not collected with this version's policy: move it away to have it made again.")
    environment = name if verified else attributes.get("environment", name)
    label = _label(name, verified)
    return Dataset(name, label, _split(name, arrays, file), file_sha256(file), verified, environment, attributes)


def _load_own(name: str, path: Path) -> Dataset:
    arrays, attributes = read_d4rl(path)
    environment = attributes.get("environment")
    return Dataset(name, path.name, split_episodes(arrays), file_sha256(path), False, environment, attributes)


def _label(name: str, verified: bool) -> str:
    return name if verified else f"{name} (unverified)"


def _split(name: str, arrays: dict[str, np.ndarray], path: Path) -> list[Episode]:
    robot = dataset_robot(name)
    assert robot is not None
    if robot == "ant" and arrays["observations"].shape[1] == ANT_V2_OBSERVATION_SIZE:
        for key in {"observations", "next_observations"} & arrays.keys():
            arrays[key] = np.ascontiguousarray(arrays[key][:, : SIZES["ant"][0]])
    for key, size in zip(("observations", "actions"), SIZES[robot], strict=True):
        if arrays[key].shape[1] != size:
            raise InputError(f"{path}: {key} have {arrays[key].shape[1]} columns, but {name} has {size}.")
    return split_episodes(arrays)
