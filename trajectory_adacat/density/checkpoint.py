"""Checkpoints of density models, in the format of all checkpoints with ``"kind": "density"``."""

from pathlib import Path
from typing import Any

from torch import Tensor

from trajectory_adacat.checkpoint import check_trained, find_checkpoint, read_description, read_tensors
from trajectory_adacat.errors import CheckpointError

KIND = "density"
WEIGHTS, AVERAGE, BEST, TRAINING = (f"{name}.safetensors" for name in ("model", "ema", "best", "training"))
# What the density commands add to a checkpoint, and the keys of its "dataset".
TRAINED: dict[str, Any] = {
    "experiment": str,
    "train_seed": int,
    "step": int,
    "dataset": dict[str, Any],
    "training": dict[str, Any],
}
TRAINED_ON = {"name", "sha256"}


def read_density(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a density model's checkpoint, or of an experiment's latest one, and its description.

    Raises:
        InputError: if it is missing, damaged, of another format or of another kind.
    """
    folder = find_checkpoint(Path(path), flag="--exp_name")
    description = read_description(folder, KIND)
    check_trained(folder, description, TRAINED, TRAINED_ON)
    return folder, description


def best_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights with the best validation likelihood, and the checkpoint's description; see `read_density`.

    Raises:
        CheckpointError: also if the evaluation of its step was interrupted.
    """
    folder, description = read_density(path)
    if "unlogged" in description:
        raise CheckpointError(f"{folder} was interrupted before its evaluation: go on with --resume first.")
    return read_tensors(folder, BEST, description), description
