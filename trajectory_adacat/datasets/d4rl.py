"""Read episodes from a D4RL-format HDF5 file.

Each row is one transition. A flag marks the last row of an episode: ``terminals`` for termination, ``timeouts`` for
truncation. If both are set, the episode counts as terminated. The rows after the last flag form a truncated episode.
"""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.errors import InputError

REQUIRED = {"observations": 2, "actions": 2, "rewards": 1, "terminals": 1}  # number of dimensions of each array
OPTIONAL = {"next_observations": 2, "timeouts": 1}  # absent from v0 files


def read_d4rl(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and check the arrays and the attributes of a D4RL-format file.

    Flags are returned as bool, all other arrays as float32.

    Raises:
        InputError: if the file is missing, truncated or not HDF5, lacks an array, or contains NaN, infinity, or an
            array of the wrong shape or type.
    """
    if not path.is_file():
        raise InputError(f"There is no dataset file {path}.")
    try:
        with h5py.File(path, "r") as file:
            _check_layout(file, path)
            arrays = {name: file[name][()] for name in REQUIRED | OPTIONAL if name in file}
            attributes = {key: getattr(value, "tolist", lambda v=value: v)() for key, value in file.attrs.items()}
    except (OSError, RuntimeError) as error:  # raised by h5py for damaged files
        raise InputError(f"{path} is not a complete HDF5 file ({error}): download or create it again.") from error
    return {name: _convert(name, array, path) for name, array in arrays.items()}, attributes


def _check_layout(file: h5py.File, path: Path) -> None:
    missing = [name for name in REQUIRED if not isinstance(file.get(name), h5py.Dataset)]
    if missing:
        raise InputError(f"{path} is not in D4RL's format: it lacks {', '.join(missing)}.")
    rows = file["rewards"].size
    if rows == 0:
        raise InputError(f"{path} contains no transitions.")
    for name, axes in (REQUIRED | OPTIONAL).items():
        if name not in file:
            continue
        array = file[name]
        if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiub":
            raise InputError(f"{path}: {name} is not an array of numbers.")
        if array.ndim != axes or array.shape[0] != rows or array.size == 0:
            raise InputError(f"{path}: {name} has shape {array.shape}; expected {rows} rows and {axes} dimension(s).")
    if "next_observations" in file and file["next_observations"].shape != file["observations"].shape:
        raise InputError(f"{path}: next_observations and observations have different shapes.")


def _convert(name: str, array: np.ndarray, path: Path) -> np.ndarray:
    if name in ("terminals", "timeouts"):
        if not np.isin(array, (0, 1)).all():
            raise InputError(f"{path}: {name} must be 0 or 1 in every row.")
        return array.astype(bool)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise InputError(f"{path}: {name} contains NaN or infinity, first in row {row}.")
    return array


def split_episodes(arrays: dict[str, np.ndarray]) -> list[Episode]:
    """Split the arrays of :func:`read_d4rl` into episodes, which are views of these arrays."""
    terminals = arrays["terminals"]
    timeouts = arrays.get("timeouts", np.zeros_like(terminals))
    ends = np.flatnonzero(terminals | timeouts) + 1
    bounds = np.unique([0, *ends, len(terminals)]).tolist()
    return [_episode(arrays, slice(start, stop)) for start, stop in itertools.pairwise(bounds)]


def _episode(arrays: dict[str, np.ndarray], rows: slice) -> Episode:
    terminated = bool(arrays["terminals"][rows.stop - 1])
    observations = arrays["observations"][rows]
    if "next_observations" in arrays:
        final_observation = arrays["next_observations"][rows.stop - 1]
    else:  # the next row belongs to another episode
        final_observation = np.full(observations.shape[1], np.nan, np.float32)
    return Episode(
        observations=observations,
        actions=arrays["actions"][rows],
        rewards=arrays["rewards"][rows],
        terminated=terminated,
        truncated=not terminated,
        final_observation=final_observation,
    )
