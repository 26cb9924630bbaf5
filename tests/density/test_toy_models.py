"""The toy models and their objectives."""

import pytest
import torch

from trajectory_adacat.density.toy_models import (
    OBJECTIVES,
    AutoregressiveModel,
    MarginalModel,
    bin_density,
    fit,
    mean_negative_log_likelihood,
    training_loss,
)
from trajectory_adacat.distributions import SmoothingSchedule


@pytest.mark.parametrize("adaptive", [True, False])
def test_densities_depend_on_the_first_coordinate_only(adaptive: bool) -> None:
    torch.manual_seed(0)
    model = AutoregressiveModel(4, adaptive)
    points = torch.tensor([[0.2, 0.3], [0.2, 0.9], [0.7, 0.3]])
    masses = model(points).masses
    assert masses.shape == (3, 2, 4)
    torch.testing.assert_close(masses[0], masses[1])
    torch.testing.assert_close(masses[0, 0], masses[2, 0])
    assert not torch.allclose(masses[0, 1], masses[2, 1])
    equal = torch.full((4,), 0.25)
    assert torch.allclose(model(points).widths[2, 1], equal) is not adaptive


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_agree_if_the_density_is_constant_within_the_kernel(objective: str) -> None:
    density = bin_density(torch.tensor([0.0, 0.0, 1.0, 0.0]), adaptive=True)
    targets = torch.tensor([0.2, 0.3, 0.8])
    loss = training_loss(density, targets, objective, SmoothingSchedule(0.01), 1.0)  # type: ignore[arg-type]
    torch.testing.assert_close(loss, -density.log_prob(targets).mean())


def test_analytic_objective_is_the_mean_over_the_kernel_that_single_samples_estimate() -> None:
    torch.manual_seed(0)
    density = bin_density(torch.tensor([0.0, 0.0, 2.0, 0.0]), adaptive=True)
    targets = torch.full((20_000,), 0.49)
    left, right = density.log_density.tolist()
    schedule = SmoothingSchedule(0.1)
    expected = -(0.6 * left + 0.4 * right)  # the kernel spans [0.44, 0.54]
    assert float(training_loss(density, targets, "analytic", schedule, 1.0)) == pytest.approx(expected, abs=1e-5)
    assert float(training_loss(density, targets, "single", schedule, 1.0)) == pytest.approx(expected, abs=0.03)
    assert float(training_loss(density, targets, "plain", schedule, 1.0)) == pytest.approx(-left)


def test_the_annealed_objective_narrows_its_kernel() -> None:
    density = bin_density(torch.tensor([0.0, 0.0, 2.0, 0.0]), adaptive=True)
    targets, schedule = torch.tensor([0.45, 0.52]), SmoothingSchedule(0.01, start=0.2, fraction=0.5)
    early, late = (float(training_loss(density, targets, "annealed", schedule, share)) for share in (0.0, 0.5))
    assert early == pytest.approx(float(training_loss(density, targets, "analytic", SmoothingSchedule(0.2), 1.0)))
    assert late == pytest.approx(float(training_loss(density, targets, "analytic", SmoothingSchedule(0.01), 1.0)))


def test_likelihood_of_a_point_is_the_sum_over_its_coordinates() -> None:
    model = AutoregressiveModel(8, adaptive=False)
    points = torch.rand(100, 2)
    expected = -float(model(points).log_prob(points).sum(dim=-1).mean().detach())
    assert mean_negative_log_likelihood(model, points) == pytest.approx(expected, rel=1e-5)
    assert mean_negative_log_likelihood(MarginalModel(8, adaptive=True), points[:, 0]) == pytest.approx(0, abs=1e-6)


def test_fit_lowers_the_loss_and_reports_each_step() -> None:
    torch.manual_seed(0)
    steps: list[int] = []
    model, data = MarginalModel(8, adaptive=True), 0.3 + 0.1 * torch.rand(500)
    fit(model, data, "analytic", SmoothingSchedule(0.02), 30, 64, 0.1, steps.append, decay=True)
    assert steps == list(range(1, 31))
    assert mean_negative_log_likelihood(model, data) < -0.8
