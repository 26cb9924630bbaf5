"""Density models of tables (Section 4.1, Table 1): the settings, and what the trainer needs."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trajectory_adacat.density.bounds import Bounds
from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.objective import DensityObjective, Split
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.tabular_models import TabularModel
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.settings import variant
from trajectory_adacat.training.config import check_positive


@dataclass(frozen=True, kw_only=True)
class TabularModelConfig:
    """The form of a table's model.

    Raises:
        InputError: for a value out of range.
    """

    form: HeadConfig = variant("form", FORMS, default="adacat")  # form of the outputs
    hidden: int = 64  # units in each hidden layer, for each column
    n_hidden: int = 2  # number of hidden layers
    frequencies: int = 4  # pairs of Fourier features of each column

    def __post_init__(self) -> None:
        check_positive(self, ("hidden", "n_hidden"))
        if self.frequencies < 0:
            raise InputError(f"frequencies must not be negative, got {self.frequencies}.")


@dataclass(frozen=True, kw_only=True)
class TabularConfig:
    """All settings that define the method of a training on a table."""

    model: TabularModelConfig = field(default_factory=TabularModelConfig)
    trainer: DensityTrainerConfig = field(default_factory=DensityTrainerConfig)


class TabularObjective(DensityObjective):
    """A model of a table's rows, scaled by the bounds of the training rows.

    Rows outside the bounds have the density of `Bounds`, so none is dropped.

    Args:
        config: the form of the model.
        data: the table.
        device: of the model.
    """

    unit = "nats per row"
    model: TabularModel

    def __init__(self, config: TabularModelConfig, data: Splits, device: torch.device) -> None:
        training = torch.from_numpy(data.training)
        self._bounds = Bounds.of(training)
        self._training = self._bounds.scale(training)
        self._held_out: dict[Split, Tensor] = {
            "validation": torch.from_numpy(data.validation),
            "test": torch.from_numpy(data.test),
        }
        self.n_examples = len(training)
        model = TabularModel(training.shape[1], config.form, config.hidden, config.n_hidden, config.frequencies)
        self.model = model.fit_bins(self._training).to(device)
        self._training = self._training.to(device)
        self._device = device

    def loss(self, indices: Tensor, progress: float) -> Tensor:
        """Return the mean smoothed negative log-likelihood of a column, in nats of the scaled data."""
        return self.model.losses(self._training[indices.to(self._device)], progress).mean()

    def negative_log_likelihood(self, model: nn.Module, split: Split) -> float:
        """Return the mean over a split's rows, in nats in the data's units."""
        rows = self._held_out[split]
        scaled = model.log_prob(self._bounds.scale(rows).to(self._device)).cpu()  # type: ignore[operator]
        return -float(self._bounds.log_prob(rows, scaled).sum(-1).mean())
