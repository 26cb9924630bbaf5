"""Episodes of a D4RL-format HDF5 file."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.errors import InputError

ARRAYS = {"observations": 2, "actions": 2, "rewards": 1, "terminals": 1}  # required keys and their numbers of axes
OPTIONAL_ARRAYS = {"next_observations": 2, "timeouts": 1}


def read_d4rl(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays of a D4RL-format file, and its attributes.

    Raises:
        InputError: if the file is missing, truncated or no HDF5 file, lacks a key, or holds a wrong shape.
    """
    if not path.is_file():
        raise InputError(f"There is no dataset file {path}.")
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: file[name][()] for name in (*ARRAYS, *OPTIONAL_ARRAYS) if name in file}
            attributes = {
                key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
            }
    except OSError as error:
        raise InputError(f"{path} is not a complete HDF5 file ({error}): fetch or make it again.") from error
    _check(arrays, path)
    return arrays, attributes


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise InputError(f"{path} is not in D4RL's format: it lacks {', '.join(missing)}.")
    rows = len(arrays["observations"])
    for name, dimension in (ARRAYS | OPTIONAL_ARRAYS).items():
        if name not in arrays:
            continue
        shape = arrays[name].shape
        if len(shape) != dimension or shape[0] != rows or rows == 0:
            raise InputError(f"{path}: {name} has shape {shape}, but {dimension} axes and {rows} rows were expected.")
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} holds NaN or infinity.")


def split_episodes(arrays: dict[str, np.ndarray]) -> list[Episode]:
    """Cut the rows into episodes: a flag at a row means that the row is the last of its episode."""
    terminals = arrays["terminals"].astype(bool)
    timeouts = arrays["timeouts"].astype(bool) if "timeouts" in arrays else np.zeros_like(terminals)
    ends = np.flatnonzero(terminals | timeouts) + 1
    bounds = np.unique([0, *ends, len(terminals)])
    return [
        _episode(arrays, start, stop, bool(terminals[stop - 1]))
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def _episode(arrays: dict[str, np.ndarray], start: int, stop: int, terminated: bool) -> Episode:
    def cut(name: str) -> np.ndarray:
        return arrays[name][start:stop].astype(np.float32)

    return Episode(
        cut("observations"), cut("actions"), cut("rewards"), terminated, not terminated, cut("next_observations")[-1]
    )
