"""The settings of a training."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trajectory_adacat.datasets.sequences import DataConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import ModelConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import check_choices, variant
from trajectory_adacat.training.objective import TrainingPrecision
from trajectory_adacat.training.optimizer import OPTIMIZERS, AdamWConfig, ScheduleEnd

LARGEST_SEED = 2**32 - 1
REFERENCE_SIZE = 1e6  # transitions of the dataset to which n_epochs_ref refers


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """The settings of the optimization (supplementary C.3; defaults of Trajectory Transformer).

    Raises:
        InputError: for a value out of range.
    """

    optimizer: AdamWConfig = variant("optimizer", OPTIMIZERS, default="adamw")  # muon: for the blocks' matrices
    batch_size: int = 256  # sequences per step, over all processes
    grad_norm_clip: float = 1.0  # gradients are clipped to this norm
    lr_decay: bool = True  # warm up and decay the learning rate, by number of tokens
    warmup_epochs: float = 1.0  # length of the warm-up, in epochs' tokens
    final_epochs: float | None = 20.0  # end of the cosine decay, in epochs' tokens; none: the end of the training
    lr_schedule_end: ScheduleEnd = "hold"  # afterwards: hold a tenth of the rate, or rise as in the released code
    ema_decay: float = 0.995  # decay of the moving average of the weights
    n_epochs_ref: float = 50.0  # epochs for a dataset of a million transitions; others take the same number of steps
    n_steps: int | None = None  # number of steps, in place of n_epochs_ref
    precision: TrainingPrecision = "float32"  # of the blocks' matrix products

    def __post_init__(self) -> None:
        check_choices(self)
        check_positive(self, ("batch_size", "grad_norm_clip", "n_epochs_ref", "n_steps"))
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError(f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
        for name in ("warmup_epochs", "final_epochs"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} must be finite and not negative, got {value}.")

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        idle = {} if self.n_steps is None else {"n_epochs_ref": f"--n_steps {self.n_steps}"}
        if not self.lr_decay:
            idle |= dict.fromkeys(("warmup_epochs", "final_epochs", "lr_schedule_end"), "--lr_decay false")
        elif self.final_epochs is None:
            idle["lr_schedule_end"] = "--final_epochs none"
        return idle

    def total_steps(self, n_windows: int) -> int:
        """Return the number of steps: ``n_steps``, or those of 1e6 / dataset size * n_epochs_ref epochs."""
        if self.n_steps is not None:
            return self.n_steps
        epochs = max(1, int(REFERENCE_SIZE / n_windows * self.n_epochs_ref))
        return epochs * self.steps_per_epoch(n_windows)

    def steps_per_epoch(self, n_windows: int) -> int:
        """Return the number of batches of an epoch; the last one holds the windows that are left."""
        return math.ceil(n_windows / self.batch_size)


@dataclass(frozen=True, kw_only=True)
class BasicRunConfig:
    """The settings of any run that do not define the method.

    Raises:
        InputError: for a value out of range.
    """

    seed: int = 0  # random seed
    log_freq: int = 100  # steps between two log lines
    n_saves: int = 3  # number of checkpoints, evenly spaced, the last at the end
    wandb: str | None = None  # project of Weights & Biases that gets the metrics too; WANDB_MODE=offline: no network

    def __post_init__(self) -> None:
        check_positive(self, ("log_freq", "n_saves"))
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed must lie between 0 and {LARGEST_SEED}, got {self.seed}.")

    def saved_steps(self, n_steps: int) -> set[int]:
        """Return the steps after which a checkpoint is written."""
        return {n_steps * (i + 1) // self.n_saves for i in range(self.n_saves)} - {0}


@dataclass(frozen=True, kw_only=True)
class OfflineRunConfig(BasicRunConfig):
    """The settings of a run on an offline dataset that do not define the method.

    Raises:
        InputError: for a value out of range.
    """

    skip_bad_batches: int = 0  # number of batches with a loss or gradient that is not finite to leave out
    watch: bool = False  # show the course of the held-out likelihood (critic: error) below the bar, in a terminal

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip_bad_batches < 0:
            raise InputError(f"skip_bad_batches must not be negative, got {self.skip_bad_batches}.")


@dataclass(frozen=True, kw_only=True)
class RunConfig(OfflineRunConfig):
    """The settings of a model's run that do not define the method.

    Raises:
        InputError: for a value out of range.
    """

    accumulate: int = 1  # micro-batches per step, to save memory
    compile: bool = False  # compile the model except its heads with torch.compile

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, ("accumulate",))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings that define the method of a training."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def check_positive(config: Any, names: Iterable[str]) -> None:
    """Check numbers that must be finite and above 0, or None.

    Raises:
        InputError: naming the setting.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} must be finite and above 0, got {value}.")
