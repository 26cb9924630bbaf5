"""The autoregressive networks of tables."""

import pytest
import torch

from trajectory_adacat.density.tabular_models import TabularModel


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_column_depends_on_the_earlier_columns_alone(adaptive: bool) -> None:
    torch.manual_seed(0)
    model = TabularModel(4, bins=5, adaptive=adaptive, hidden=8, layers=2, frequencies=3)
    points = torch.rand(1, 4, requires_grad=True)
    for column in range(4):
        (gradient,) = torch.autograd.grad(model(points).masses[0, column].square().sum(), points)
        assert (gradient[0, column:] == 0).all()
        assert (gradient[0, :column] != 0).all()


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_joint_density_integrates_to_one(adaptive: bool) -> None:
    torch.manual_seed(1)
    model = TabularModel(2, bins=4, adaptive=adaptive, hidden=8, layers=1, frequencies=2)
    centres = (torch.arange(400) + 0.5) / 400
    points = torch.cartesian_prod(centres, centres)
    with torch.no_grad():
        density = model(points).log_prob(points).sum(dim=-1).exp()
    assert float(density.mean()) == pytest.approx(1.0, abs=0.02)
