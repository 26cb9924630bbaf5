"""Read the arrays of a D4RL-format HDF5 file: one transition a row. `boundaries` splits them into episodes."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trajectory_adacat.datasets.hdf5 import check_memory, find_dataset, open_hdf5, read_attributes
from trajectory_adacat.datasets.precision import narrow, precision_note
from trajectory_adacat.errors import DataError

REQUIRED = {"observations": 2, "actions": 2, "rewards": 1, "terminals": 1}  # number of dimensions of each array
OPTIONAL = {"next_observations": 2, "timeouts": 1}  # absent from v0 files
EPISODE_IDS = ("episode_ids", "infos/episode")  # where files of other projects say each row's episode
LOG_PROBS = "infos/action_log_probs"  # of the policy that was recorded
FLAGS = ("terminals", "timeouts")


def read_d4rl(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
    """Read and check the arrays and the attributes of a D4RL-format file.

    Flags are returned as bool, all other arrays as float32, or float64 where the file has more than float32 and float32
    could not tell a dimension's values apart. ``episode_ids``, where the file has them under one of `EPISODE_IDS`, keep
    their type. ``action_log_probs`` are those of `LOG_PROBS`, float32, where the file has a finite number for each row.

    Returns:
        The arrays, the attributes, and lines for the user about the arrays' precision.

    Raises:
        DataError: if the file cannot be read (see `open_hdf5`), lacks an array, or contains NaN, infinity, or an array
            of the wrong shape or type.
    """
    with open_hdf5(path) as file:
        found = _find_arrays(file, path)
        arrays = {name: dataset[()] for name, dataset in found.items()}
        rows = len(arrays["rewards"])
        ids = next((name for name in EPISODE_IDS if find_dataset(file, name) is not None), None)
        if ids is not None:
            arrays["episode_ids"] = _read_ids(file, ids, rows, path)
        log_probs = _read_log_probs(file, rows)
        attributes = read_attributes(file)
    if log_probs is not None:
        arrays["action_log_probs"] = log_probs
    for name in FLAGS:
        if name in arrays:
            arrays[name] = _as_flags(name, arrays[name], path)
    return arrays, attributes, _narrow_all(arrays, path)


def _find_arrays(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Return the datasets by name, after checks of their shapes, types and sizes."""
    named = {name: find_dataset(file, name) for name in REQUIRED | OPTIONAL}
    missing = [name for name in REQUIRED if named[name] is None]
    if missing:
        raise DataError(f"{path} is not in D4RL's format: it lacks {', '.join(missing)}.")
    for name in OPTIONAL:
        if name in file and named[name] is None:
            raise DataError(f"{path}: {name} is not an array of numbers.")
    found = {name: dataset for name, dataset in named.items() if dataset is not None}
    rows = found["rewards"].size
    if not rows:
        raise DataError(f"{path} contains no transitions.")
    for name, array in found.items():
        axes = (REQUIRED | OPTIONAL)[name]
        if array.dtype.kind not in "fiub":
            raise DataError(f"{path}: {name} is not an array of numbers.")
        if array.ndim != axes or array.shape[0] != rows or array.size == 0:
            raise DataError(f"{path}: {name} has shape {array.shape}; expected {rows} rows and {axes} dimension(s).")
    if "next_observations" in found and found["next_observations"].shape != found["observations"].shape:
        raise DataError(f"{path}: next_observations and observations have different shapes.")
    check_memory(found.values(), path)
    return found


def _read_ids(file: h5py.File, name: str, rows: int, path: Path) -> np.ndarray:
    found = find_dataset(file, name)
    if found is None or found.shape != (rows,):
        shape = None if found is None else found.shape
        raise DataError(f"{path}: {name} has shape {shape}; expected one episode id for each of {rows} rows.")
    if found.dtype.kind not in "iufSU" and h5py.check_string_dtype(found.dtype) is None:
        raise DataError(f"{path}: {name} are not numbers or texts.")
    return found[()]


def _read_log_probs(file: h5py.File, rows: int) -> np.ndarray | None:
    """Return None for whatever is not one finite number for each row: nothing is trained on them."""
    found = find_dataset(file, LOG_PROBS)
    if found is None or found.shape != (rows,) or found.dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):  # becomes infinite
        log_probs = found[()].astype(np.float32, copy=False)
    return log_probs if np.isfinite(log_probs).all() else None


def _as_flags(name: str, array: np.ndarray, path: Path) -> np.ndarray:
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"{path}: {name} must be 0 or 1 in every row.")
    return array.astype(bool)


def _narrow_all(arrays: dict[str, np.ndarray], path: Path) -> list[str]:
    """Convert the numbers in place to float32, or float64 where needed; return what the user should know of it."""
    notes = []
    for names in (("observations", "next_observations"), ("actions",), ("rewards",)):
        present = [name for name in names if name in arrays]
        narrowed, lossy = narrow([arrays[name] for name in present])
        arrays.update(zip(present, narrowed, strict=True))
        for name in present:
            if not np.isfinite(arrays[name]).all():
                row = int(np.argwhere(~np.isfinite(arrays[name]))[0, 0])
                raise DataError(f"{path}: {name} contains NaN or infinity, first in row {row}.")
        if len(lossy):
            notes.append(precision_note(names[0], lossy, narrowed[0].dtype))
    return notes
