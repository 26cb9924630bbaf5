"""Tails of the normal distribution against higher precision."""

import mpmath
import pytest
import torch

from trajectory_adacat.distributions.normal_tails import log_normal_mass, log_normal_quantile


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.0, 2.0), (-40.0, -39.0), (39.0, 40.0), (0.0, 1e-9), (5.0, 5.000001), (-1e-3, 1e-3), (-300.0, 0.0)],
)
def test_log_mass(low: float, high: float) -> None:
    with mpmath.workdps(400):
        root = mpmath.sqrt(2)
        ends = (-high, -low) if low > 0 else (low, high)
        mass = (mpmath.erfc(-mpmath.mpf(ends[1]) / root) - mpmath.erfc(-mpmath.mpf(ends[0]) / root)) / 2
        actual = log_normal_mass(torch.tensor(low, dtype=torch.double), torch.tensor(high, dtype=torch.double))
        assert float(actual) == pytest.approx(float(mpmath.log(mass)), rel=1e-10)


def test_no_mass_where_the_ends_coincide() -> None:
    ends = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.double)
    assert (log_normal_mass(ends, ends) == -torch.inf).all()


def test_quantile_inverts_the_distribution_down_to_the_far_tail() -> None:
    log_level = -torch.logspace(-0.159, 5, 200, dtype=torch.double)
    torch.testing.assert_close(
        torch.special.log_ndtr(log_normal_quantile(log_level)), log_level, rtol=1e-13, atol=1e-14
    )


def test_numerical_gradient() -> None:
    log_level = -torch.tensor([0.7, 2.0, 40.0, 900.0], dtype=torch.double)
    assert torch.autograd.gradcheck(log_normal_quantile, log_level.requires_grad_())
