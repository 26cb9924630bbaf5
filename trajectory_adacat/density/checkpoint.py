"""Checkpoints of density models, in the format of all checkpoints with ``"kind": "density"``."""

from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import check_trained, find_checkpoint, read_description

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
