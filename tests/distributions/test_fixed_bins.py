"""Fixed bins: bins of zero width, broadcasting, and invalid arguments."""

from collections.abc import Callable

import pytest
import torch

from trajectory_adacat.distributions import FixedBins, TruncatedUniform

EDGES = torch.tensor([[-1.0, 0.0, 0.5, 2.0], [-1.0, 0.0, 2.0, 2.0]])  # the second row has two bins


def test_density_is_the_mass_over_the_width() -> None:
    density = FixedBins(EDGES[0], torch.tensor([0.2, 0.5, 0.3]).log())
    values = torch.tensor([-1.0, -0.5, 0.0, 0.25, 0.5, 2.0])
    torch.testing.assert_close(density.log_prob(values).exp(), torch.tensor([0.2, 0.2, 1.0, 1.0, 0.2, 0.2]))
    torch.testing.assert_close(density.cdf(values), torch.tensor([0.0, 0.1, 0.2, 0.45, 0.7, 1.0]))
    torch.testing.assert_close(density.mean, torch.tensor(-0.1 + 0.125 + 0.375))


def test_a_bin_without_width_is_absent() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 1, 3, requires_grad=True)
    density = FixedBins(EDGES, logits)
    assert density.batch_shape == (4, 2)
    assert (density.masses[:, 1, 2] == 0).all()
    assert (density.log_density[:, 1, 2] == -torch.inf).all()
    assert (density.icdf_midpoint(torch.linspace(0, 1, 50).reshape(-1, 1, 1))[..., 1] < 2).all()
    kernel = TruncatedUniform(torch.tensor(1.9), 0.5, low=-1.0, high=2.0)
    total = (
        density.log_prob(torch.tensor(2.0)).sum() + density.smoothed_log_prob(kernel).sum() + density.entropy().sum()
    )
    total = total + density.mean.sum() + density.rsample((10,)).sum()
    assert total.isfinite()
    total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_an_absent_bin_passes_no_gradient() -> None:
    logits = torch.zeros(3, requires_grad=True)
    FixedBins(EDGES[1], logits).log_prob(torch.tensor(2.0)).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([-0.5, 0.5, 0.0]))


def test_an_edge_shared_with_an_absent_bin_belongs_to_the_next_bin() -> None:
    density = FixedBins(torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.tensor([1.0, 7.0, 3.0]).log())
    torch.testing.assert_close(density.masses, torch.tensor([0.25, 0.0, 0.75]))
    torch.testing.assert_close(density.log_prob(torch.tensor(0.5)).exp(), torch.tensor(1.5))


def test_smoothing_is_the_mean_of_the_log_density_under_the_kernel() -> None:
    density = FixedBins(EDGES[0], torch.tensor([0.2, 0.5, 0.3]).log())
    kernel = TruncatedUniform(torch.tensor(0.4), 0.4, low=-1.0, high=2.0)  # [0.2, 0.6): 3/4 in one bin, 1/4 in the next
    expected = torch.tensor(0.75) * torch.tensor(1.0).log() + 0.25 * torch.tensor(0.2).log()
    torch.testing.assert_close(density.smoothed_log_prob(kernel), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedBins(torch.tensor([0.0, 0.6, 0.5]), torch.zeros(2), validate_args=True),
        lambda: FixedBins(torch.tensor([0.0, 0.5, torch.inf]), torch.zeros(2), validate_args=True),
        lambda: FixedBins(torch.tensor([0.5, 0.5, 0.5]), torch.zeros(2), validate_args=True),
        lambda: FixedBins(torch.tensor([0.0, 1.0]), torch.zeros(2)),
    ],
)
def test_invalid_edges_are_refused(make: Callable[[], FixedBins]) -> None:
    with pytest.raises(ValueError, match=r"edges|at least one bin"):
        make()
