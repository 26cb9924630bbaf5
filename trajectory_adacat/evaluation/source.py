"""The checkpoints that plan: a model, and a critic that scores its plans if there is one."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trajectory_adacat.checkpoint import DESCRIPTION, load_model
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.critic.matching import check_match
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.planning.planner import Planner, PlannerConfig


class Source(NamedTuple):
    """The checkpoint that plans, and the critic that scores its plans, if any.

    Attributes:
        folder: of the checkpoint.
        description: what it says of itself.
        hash: of both descriptions.
        critic: folder of the critic's checkpoint.
        scored_by: what defines the critic's method, as results record it.
    """

    folder: Path
    description: dict[str, Any]
    hash: str
    critic: Path | None = None
    scored_by: dict[str, Any] | None = None

    @classmethod
    def of_model(cls, folder: Path, description: dict[str, Any]) -> "Source":
        """Return the source of a checkpoint without a critic."""
        return cls(folder, description, file_sha256(folder / DESCRIPTION))

    def with_critic(self, folder: Path) -> "Source":
        """Return this source with a critic's checkpoint.

        Raises:
            InputError: if the critic is damaged, or was trained on anything else than the model.
        """
        critic = load_critic(folder)
        check_match(critic, load_model(self.folder, use_ema=True))
        training = {key: value for key, value in critic.description["training"].items() if key != "dataset"}
        both = hashlib.sha256(f"{self.hash} {critic.hash}".encode()).hexdigest()
        return self._replace(hash=both, critic=folder, scored_by={**training, "step": critic.description["step"]})

    def make_planner(self, config: PlannerConfig, device: torch.device, compiled: bool) -> Planner:
        """Return the planner of a process.

        Raises:
            InputError: if a checkpoint is damaged, or the settings do not fit the model.
        """
        critic = None if self.critic is None else load_critic(self.critic, device).critic
        return Planner.from_checkpoint(self.folder, config, device, compiled, critic)
