"""The autoregressive networks of tables."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.tabular_models import TabularModel
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.fixed_bins import QuantileConfig, UniformConfig

BINS = [AdaCatConfig(n_bins=5), UniformConfig(N=5)]


@pytest.mark.parametrize("form", BINS)
def test_a_column_depends_on_the_earlier_columns_alone(form: HeadConfig) -> None:
    torch.manual_seed(0)
    model = TabularModel(4, form, hidden=8, layers=2, frequencies=3)
    points = torch.rand(1, 4, requires_grad=True)
    for column in range(4):
        (gradient,) = torch.autograd.grad(model(points).masses[0, column].square().sum(), points)
        assert (gradient[0, column:] == 0).all()
        assert (gradient[0, :column] != 0).all()


@pytest.mark.parametrize("form", BINS)
def test_the_joint_density_integrates_to_one(form: HeadConfig) -> None:
    torch.manual_seed(1)
    model = TabularModel(2, form, hidden=8, layers=1, frequencies=2)
    centres = (torch.arange(400) + 0.5) / 400
    points = torch.cartesian_prod(centres, centres)
    with torch.no_grad():
        density = model(points).log_prob(points).sum(dim=-1).exp()
    assert float(density.mean()) == pytest.approx(1.0, abs=0.02)


class OperatorCount(TorchDispatchMode):
    """Counts the operators that torch runs."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_all_columns_share_one_batched_product() -> None:
    counts = []
    for columns in (2, 9):
        model = TabularModel(columns, AdaCatConfig(n_bins=5), hidden=8, layers=2, frequencies=3)
        with OperatorCount() as operators:
            model.losses(torch.rand(4, columns), 0.5)
        counts.append(operators.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", FORMS)
def test_every_form_learns_from_its_loss(name: str) -> None:
    torch.manual_seed(0)
    points = torch.rand(64, 3).square()
    model = TabularModel(3, FORMS[name](), hidden=8, layers=1, frequencies=1).fit_bins(points)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    before = float(model.log_prob(points).sum(-1).mean())
    for _ in range(60):
        optimizer.zero_grad()
        model.losses(points, 1.0).mean().backward()
        optimizer.step()
    assert float(model.log_prob(points).sum(-1).mean()) > before + 0.1


def test_quantile_bins_hold_equal_shares_of_the_training_points() -> None:
    points = torch.rand(4000, 2).pow(3)
    edges = TabularModel(2, QuantileConfig(N=4), 8, 1, 1).fit_bins(points)(points[:1]).edges[0]
    for column in range(2):
        counts = torch.histogram(points[:, column], edges[column]).hist
        assert counts.tolist() == pytest.approx([1000] * 4, abs=2)


def test_the_log_density_in_batches_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    model, points = TabularModel(3, AdaCatConfig(n_bins=4), 8, 1, 1), torch.rand(10, 3)
    torch.testing.assert_close(model.log_prob(points, 3), model(points).log_prob(points).double())
