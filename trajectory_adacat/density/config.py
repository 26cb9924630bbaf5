"""The settings of a density model's training."""

import math
from dataclasses import dataclass
from typing import Literal

from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import check_choices, variant
from trajectory_adacat.training.config import check_positive
from trajectory_adacat.training.optimizer import AdamConfig, AdamWConfig

LearningRateSchedule = Literal["cosine", "halve", "constant"]
OPTIMIZERS: dict[str, type[AdamWConfig]] = {"adam": AdamConfig, "adamw": AdamWConfig}


@dataclass(frozen=True, kw_only=True)
class DensityTrainerConfig:
    """The settings of the optimization, the same for tables, images and audio.

    Raises:
        InputError: for a value out of range.
    """

    optimizer: AdamWConfig = variant("optimizer", OPTIMIZERS, default="adam")  # adam or adamw
    batch_size: int = 512  # examples per step
    n_steps: int = 3000  # number of steps
    n_epochs: float | None = None  # number of epochs, in place of n_steps
    lr_schedule: LearningRateSchedule = "cosine"  # cosine to lr_end, halve at equal distances, or constant
    lr_warmup: float = 0.0  # share of the steps in which the learning rate rises from 0
    lr_end: float = 0.0  # last learning rate of the cosine, as a share of the highest
    lr_halve_every: float = 0.25  # share of the steps after which the learning rate is halved
    grad_norm_clip: float | None = None  # gradients are clipped to this norm
    ema_decay: float = 0.0  # decay of the moving average of the weights, which is evaluated; 0: the weights themselves

    def __post_init__(self) -> None:
        check_choices(self)
        check_positive(self, ("batch_size", "n_steps", "n_epochs", "grad_norm_clip", "lr_halve_every"))
        for name in ("lr_warmup", "lr_end", "ema_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        idle = {} if self.n_epochs is None else {"n_steps": f"--n_epochs {self.n_epochs}"}
        idle |= {} if self.lr_schedule == "cosine" else {"lr_end": f"--lr_schedule {self.lr_schedule}"}
        return idle | ({} if self.lr_schedule == "halve" else {"lr_halve_every": f"--lr_schedule {self.lr_schedule}"})

    def steps_per_epoch(self, n_examples: int) -> int:
        """Return the number of batches of an epoch; the last one holds the examples that are left."""
        return math.ceil(n_examples / self.batch_size)

    def total_steps(self, n_examples: int) -> int:
        """Return the number of steps: ``n_steps``, or those of ``n_epochs``, at least one."""
        if self.n_epochs is None:
            return self.n_steps
        return max(1, round(self.n_epochs * self.steps_per_epoch(n_examples)))

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor on the highest learning rate when a share ``progress`` of the steps is done."""
        if progress < self.lr_warmup:
            return progress / self.lr_warmup
        if self.lr_schedule == "constant":
            return 1.0
        if self.lr_schedule == "halve":
            return 0.5 ** math.floor(progress / self.lr_halve_every)
        share = (progress - self.lr_warmup) / (1.0 - self.lr_warmup)
        return self.lr_end + (1.0 - self.lr_end) * 0.5 * (1.0 + math.cos(math.pi * share))
