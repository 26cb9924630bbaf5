"""The objective of tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.tabular import TabularModelConfig, TabularObjective
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.fixed_bins import QuantileConfig


def objective(form: HeadConfig, data: Splits) -> TabularObjective:
    torch.manual_seed(0)
    return TabularObjective(TabularModelConfig(form=form, hidden=8), data, torch.device("cpu"))


@pytest.mark.parametrize("form", [AdaCatConfig(n_bins=5), QuantileConfig(N=5)])
def test_bounds_and_bins_are_those_of_the_training_rows(form: HeadConfig) -> None:
    generator = np.random.default_rng(0)
    data = Splits(*(generator.normal(size=(200, 3)) for _ in range(3)))
    losses, validation, test = [], [], []
    for change in ({}, {"validation": 9 * data.validation}, {"test": 9 * data.test}):
        made = objective(form, replace(data, **change))
        losses.append(float(made.loss(torch.arange(200), 1.0).detach()))
        validation.append(made.negative_log_likelihood(made.model, "validation"))
        test.append(made.negative_log_likelihood(made.model, "test"))
    assert losses[0] == losses[1] == losses[2]
    assert validation[0] == validation[2] < validation[1] < np.inf
    assert test[0] == test[1] < test[2] < np.inf
