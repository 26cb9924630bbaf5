"""A baseline's folder: ``<logbase>/<dataset>/baselines/<algorithm>_<seed>``, and the record of its training."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trajectory_adacat.checks import fits
from trajectory_adacat.command_line import dataset_folder
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.errors import InputError

Algorithm = Literal["iql", "iql-paper", "td3bc", "td3bc-paper", "bc"]

RECORD = "training.json"  # written last: a folder that has it is complete
KEYS: dict[str, Any] = {
    "algorithm": str,
    "train_seed": int,
    "step": int,
    "training": dict[str, Any],
    "dataset": dict[str, Any],
    "seconds": float,
    "files": dict[str, str],
}


def experiment_folder(logbase: str, dataset: str, algorithm: str, seed: int) -> Path:
    """Return the folder of a baseline."""
    return Path(logbase, dataset_folder(dataset), "baselines", f"{algorithm}_{seed}")


def write_record(folder: Path, record: Mapping[str, Any], files: list[Path]) -> None:
    """Write the record of a training with the hashes of its files, atomically."""
    hashes = {path.name: file_sha256(path) for path in files}
    temporary = folder / f".{os.getpid()}.{RECORD}"
    text = json.dumps({**record, "files": hashes}, indent=2, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / RECORD)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training, and check that its files are those that it wrote.

    Raises:
        InputError: if it is missing or damaged, or a file is missing or has other bytes.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"There is no trained baseline in {folder}: docs/baselines.md says how to train one."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): train the baseline again with --overwrite.") from error
    if not isinstance(record, dict) or not all(key in record and fits(record[key], KEYS[key]) for key in KEYS):
        raise InputError(f"{path} is not the record of a baseline: train it again with --overwrite.")
    for name, sha256 in record["files"].items():
        file = folder / name
        if not file.exists() or file_sha256(file) != sha256:
            raise InputError(f"{file} is missing or not what the training wrote: train it again with --overwrite.")
    return record


def is_trained(folder: Path, flags: Mapping[str, Any], seed: int, n_steps: int) -> bool:
    """Return whether a folder holds a whole training with these settings."""
    try:
        record = read_record(folder)
    except InputError:
        return False
    recorded = {name: record["training"].get(name) for name in flags}
    return (recorded, record["train_seed"], record["step"]) == (dict(flags), seed, n_steps)
