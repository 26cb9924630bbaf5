"""The settings of a training."""

import math
from dataclasses import dataclass
from typing import get_args

from trajectory_adacat.errors import InputError
from trajectory_adacat.training.objective import TrainingPrecision
from trajectory_adacat.training.optimizer import OptimizerKind, ScheduleEnd

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class TrainerConfig:
    """How to train (supplementary C.3, Trajectory Transformer's settings).

    Attributes:
        n_steps: optimizer steps in all.
        batch_size: windows in a step, of all processes together.
        accumulate: parts in which a step's batch is computed one after another; the step is the same but for rounding.
        optimizer: "adamw", or "muon" for the blocks' matrices and AdamW for the rest (not the paper's).
        learning_rate: AdamW's highest.
        muon_learning_rate: Muon's highest.
        weight_decay: on matrices only.
        beta1, beta2: AdamW's.
        grad_norm_clip: the gradient's norm is clipped to this.
        lr_decay: whether the rate follows the warm-up and the cosine, or stays.
        warmup_epochs: length of the warm-up, in epochs' tokens.
        final_epochs: where the cosine ends, in epochs' tokens; None for the end of the training.
        lr_schedule_end: what the rate does after that.
        ema_decay: of the moving average of the weights.
        precision: of the blocks' matrix products; see `Objective`.
        compile: whether all of the model but its heads is compiled; see `Objective`.
        log_freq: steps between two log lines.
        n_saves: checkpoints in all, evenly spaced, the last at the end.
        seed: of the batches' order and of the dropout.

    Raises:
        InputError: for a value out of range.
    """

    n_steps: int
    batch_size: int = 256
    accumulate: int = 1
    optimizer: OptimizerKind = "adamw"
    learning_rate: float = 6e-4
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_norm_clip: float = 1.0
    lr_decay: bool = True
    warmup_epochs: float = 1.0
    final_epochs: float | None = 20.0
    lr_schedule_end: ScheduleEnd = "hold"
    ema_decay: float = 0.995
    precision: TrainingPrecision = "float32"
    compile: bool = False
    log_freq: int = 100
    n_saves: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("n_steps", "batch_size", "learning_rate", "muon_learning_rate", "grad_norm_clip", "log_freq")
        for name in (*positive, "n_saves", "accumulate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and above 0, got {getattr(self, name)}.")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for name in ("weight_decay", "warmup_epochs", "final_epochs"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} must be finite and not negative, got {value}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed must lie between 0 and {LARGEST_SEED}, got {self.seed}.")
        known_values = {"optimizer": OptimizerKind, "lr_schedule_end": ScheduleEnd, "precision": TrainingPrecision}
        for name, known in known_values.items():
            if getattr(self, name) not in get_args(known):
                raise InputError(f"{name} must be one of {', '.join(get_args(known))}, got {getattr(self, name)!r}.")

    def saved_steps(self) -> set[int]:
        """The steps after which a checkpoint is written."""
        return {self.n_steps * (i + 1) // self.n_saves for i in range(self.n_saves)} - {0}
