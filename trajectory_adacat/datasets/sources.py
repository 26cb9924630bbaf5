"""Load datasets by name: official D4RL files, collected files, the user's own files, Minari datasets."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trajectory_adacat.datasets.boundaries import split_episodes
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect, collected_path, has_provenance_of
from trajectory_adacat.datasets.d4rl import read_d4rl
from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.minari import read_minari
from trajectory_adacat.datasets.official import fetch_official, official_file
from trajectory_adacat.environments import MINARI_PREFIX
from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.files import expand
from trajectory_adacat.robots import NamedDataset, Robot, find_dataset, named_datasets

HDF5_SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Episodes with their identity and provenance.

    Args:
        name: the name that was asked for.
        label: the name for results and tables. It is ``<name> (unverified)`` if the file is not the one that the name
            stands for, and the file's name for a user's own file.
        episodes: in the file's order.
        sha256: in hexadecimal, over the file's bytes or over the arrays of a Minari dataset.
        verified: True for an official dataset whose file has the pinned bytes, and for one that this package collected
            under its name on v2 dynamics, with its own policy where it has one of that name; False for all others.
        environment: the name to pass to ``make_environment``, or None if the source does not name one.
        provenance: the attributes of the HDF5 file, or the ids of a Minari dataset and its environment.
        notes: lines for the user: how episode boundaries were found, what had to be assumed, what float32 cannot hold.
        file: that was read, or None for a Minari dataset.
    """

    name: str
    label: str
    episodes: list[Episode]
    sha256: str
    verified: bool
    environment: str | None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    file: Path | None = None


def load_dataset(name: str, path: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Args:
        name: an official dataset (``hopper-medium-v2``: read from the cache or downloaded), a collected one
            (``hopper-medium-collected``: collected if missing; ``hopper-expert-collected``: of the user's own policy),
            ``minari:`` and a Minari dataset's id, or the path of a D4RL-format file (``.hdf5`` or ``.h5``).
        path: a D4RL-format file to read instead. With a name that is not official or collected, it is a dataset of the
            user's own.

    Raises:
        InputError: if the name is unknown, a download fails, or a file is missing or damaged or contains NaN, infinity
            or arrays of the wrong shape.
    """
    file = expand(path) if path else None
    if name.startswith(MINARI_PREFIX):
        return _load_minari(name, file)
    if dataset := find_dataset(name):
        return _load_official(dataset, file) if dataset.source == "v2" else _load_collected(dataset, file)
    if file or name.endswith(HDF5_SUFFIXES):
        return _load_own(name, file or expand(name))
    near = difflib.get_close_matches(name, named_datasets(), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Known names look like hopper-medium-v2."
    raise InputError(f"Unknown dataset {name!r}. {hint} To use a file of your own, pass --dataset_path.")


def load_episodes(name: str, path: str | Path | None = None) -> list[Episode]:
    """Load the episodes of a dataset; arguments and errors are those of :func:`load_dataset`."""
    return load_dataset(name, path).episodes


def _load_minari(name: str, path: Path | None) -> Dataset:
    if path:
        raise InputError(
            f"{name} is not read from a file: leave out --dataset_path. The variable MINARI_DATASETS_PATH names the "
            "folder of Minari's datasets."
        )
    episodes, sha256, provenance, notes = read_minari(name.removeprefix(MINARI_PREFIX))
    return Dataset(name, name, episodes, sha256, False, name if provenance["environment"] else None, provenance, notes)


def _load_official(dataset: NamedDataset, path: Path | None) -> Dataset:
    official = official_file(dataset)
    path = path or fetch_official(official)
    arrays, attributes, notes = read_d4rl(path)
    sha256 = file_sha256(path)
    verified = sha256 == official.sha256
    _check_robot(dataset, arrays, path)
    episodes, found = split_episodes(arrays, check_continuity=not verified)  # the pinned files have the right flags
    label = _label(dataset.name, verified)
    return Dataset(dataset.name, label, episodes, sha256, verified, dataset.name, attributes, notes + found, path)


def _load_collected(dataset: NamedDataset, path: Path | None) -> Dataset:
    name = dataset.name
    file = path or collected_path(name)
    if path is None and not file.exists():
        if dataset.is_own:
            raise DataError(_how_to_collect(dataset, file))
        collect(name)
    arrays, attributes, notes = read_d4rl(file)
    verified = has_provenance_of(dataset, attributes)
    if path is None and not verified:
        what = f"under the name {name}" if dataset.is_own else "with this version's policy"
        raise DataError(f"{file} was not collected {what}: move it away to collect it again.")
    environment = name if verified else _environment(attributes, file) or name
    _check_robot(dataset, arrays, file)
    episodes, found = split_episodes(arrays)
    label = _label(name, verified)
    return Dataset(name, label, episodes, file_sha256(file), verified, environment, attributes, notes + found, file)


def _how_to_collect(dataset: NamedDataset, file: Path) -> str:
    near = difflib.get_close_matches(dataset.name, named_datasets(), n=3)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"There is no dataset {dataset.name}: {file} is missing. {hint}Collect it with `trajectory-adacat collect "
        f"--policy FILE --name {dataset.robot.id}-{dataset.quality}`, or pass --dataset_path."
    )


def _load_own(name: str, path: Path) -> Dataset:
    arrays, attributes, notes = read_d4rl(path)
    environment = _environment(attributes, path)
    episodes, found = split_episodes(arrays)
    return Dataset(name, path.name, episodes, file_sha256(path), False, environment, attributes, notes + found, path)


def _environment(attributes: dict[str, Any], path: Path) -> str | None:
    """Return a file's attribute ``environment``, also where it is an array of one text."""
    value = attributes.get("environment")
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if value is not None and not isinstance(value, str):
        raise DataError(f"{path}: the attribute environment must be text, got {value!r}.")
    return value


def _label(name: str, verified: bool) -> str:
    return name if verified else f"{name} (unverified)"


def _check_robot(dataset: NamedDataset, arrays: dict[str, np.ndarray], path: Path) -> None:
    robot = dataset.robot
    _keep_environment_observations(arrays, robot)
    for key, size in {"observations": robot.observation_size, "actions": robot.action_size}.items():
        if arrays[key].shape[1] != size:
            raise DataError(f"{path}: {key} have {arrays[key].shape[1]} columns, but {dataset.name} has {size}.")


def _keep_environment_observations(arrays: dict[str, np.ndarray], robot: Robot) -> None:
    """Drop in place the observation columns of D4RL's files that the environment does not have."""
    if arrays["observations"].shape[1] == robot.d4rl_observation_size:
        for key in {"observations", "next_observations"} & arrays.keys():
            arrays[key] = np.ascontiguousarray(arrays[key][:, : robot.observation_size])
