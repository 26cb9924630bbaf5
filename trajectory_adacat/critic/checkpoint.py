"""Checkpoints of critics, in the format of all checkpoints with ``"kind": "critic"``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trajectory_adacat.checkpoint import (
    DESCRIPTION,
    check_trained,
    find_checkpoint,
    halved,
    load_into,
    make_normalizer,
    read_description,
    read_tensors,
    write_checkpoint,
    write_export,
)
from trajectory_adacat.critic.config import CriticForm
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import CheckpointError
from trajectory_adacat.settings import from_nested, to_nested

KIND = "critic"
WEIGHTS = "critic.safetensors"
# What the critic command adds to a checkpoint, and the keys of its "dataset".
TRAINED: dict[str, Any] = {
    "discount": float,
    "train_seed": int,
    "step": int,
    "normalizer": dict[str, list[float]],
    "dataset": dict[str, Any],
    "training": dict[str, Any],
}
TRAINED_ON = {"name", "label", "sha256"}


@dataclass(frozen=True)
class LoadedCritic:
    """A loaded critic, with what its use needs from its training.

    Attributes:
        critic: in evaluation mode, without gradients.
        normalizer: of the training transitions, as a model's of the same data, settings and seed.
        description: contents of ``checkpoint.json``: form, settings, dataset, seed, step, versions, hashes.
        hash: SHA-256 of the description file, which contains the hashes of all weights.
    """

    critic: Critic
    normalizer: MinMaxNormalizer
    description: dict[str, Any]
    hash: str


def save_critic(folder: Path, critic: Critic, training: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a checkpoint folder atomically.

    Args:
        folder: must not exist.
        critic: weights and statistics.
        training: the rest of the training's state, for resuming.
        description: further entries of `LoadedCritic.description`.
    """
    tensors = {WEIGHTS: critic.state_dict(), "training.safetensors": training}
    write_checkpoint(folder, tensors, {"kind": KIND, "critic": to_nested(critic.form), **description})


def export_critic(checkpoint: Path, folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a copy of a checkpoint that can score plans but not be trained on, at about a tenth of the size.

    It holds the weights in half precision and what inputs and outputs are scaled by. Loading converts it to float32.

    Args:
        checkpoint: folder of a critic's checkpoint; it may be such a copy itself.
        folder: must not exist.
        facts: further entries of the description.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged, or is that of a model.
    """
    loaded = load_critic(checkpoint)
    write_export(folder, {WEIGHTS: halved(loaded.critic)}, loaded.description, facts or {})


def read_critic(folder: Path) -> dict[str, Any]:
    """Read the JSON of a checkpoint of the critic command.

    Raises:
        CheckpointError: if it is missing, damaged, of another format or of a model, or what that command writes is
            missing.
    """
    description = read_description(folder, KIND)
    check_trained(folder, description, TRAINED, TRAINED_ON)
    return description


def load_critic(path: str | Path, device: torch.device | str = "cpu") -> LoadedCritic:
    """Load a critic from a checkpoint folder, or from the latest one of an experiment's folder.

    Args:
        path: the folder.
        device: where to put the critic.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, of another format or of a model.
    """
    folder = find_checkpoint(Path(path), flag="critic")
    description = read_critic(folder)
    weights = read_tensors(folder, WEIGHTS, description)
    bounds = description["normalizer"]
    try:
        form = from_nested(CriticForm, description.get("critic"))
        critic = load_into(lambda: Critic(form), form.networks.n_hidden, weights)
        low, high = (torch.tensor(bounds[name], dtype=torch.float64) for name in ("low", "high"))
    except (ValueError, KeyError, RuntimeError) as error:  # an InputError is a ValueError
        raise CheckpointError(f"The checkpoint {folder} does not fit this version's critic: {error}") from error
    normalizer = make_normalizer(folder, low, high, form.observation_size + form.action_size + 2)
    critic = critic.to(device).eval().requires_grad_(False)
    return LoadedCritic(critic, normalizer, description, file_sha256(folder / DESCRIPTION))
