"""The mixture of logistics against higher precision and SciPy, and its discretization."""

import math

import mpmath
import pytest
import torch
from scipy import stats

from trajectory_adacat.distributions import LogisticMixture


def mixture(seed: int = 0, components: int = 5) -> LogisticMixture:
    generator = torch.Generator().manual_seed(seed)
    logits, locs, log_scales = torch.randn(3, 4, components, dtype=torch.double, generator=generator)
    return LogisticMixture(logits, locs, (log_scales - 1).exp())


def test_density_agrees_with_scipy() -> None:
    density = mixture()
    values = torch.linspace(-6, 6, 40, dtype=torch.double)
    weights = density.logits.softmax(dim=-1)
    for row in range(4):
        parts = [
            float(weight) * stats.logistic.pdf(values.numpy(), loc=float(loc), scale=float(scale))
            for weight, loc, scale in zip(weights[row], density.locs[row], density.scales[row], strict=True)
        ]
        actual = density.log_prob(values.unsqueeze(-1).expand(-1, 4))[:, row].exp()
        torch.testing.assert_close(actual, torch.tensor(sum(parts)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (-3.0, 3.0), (40.0, 41.0), (-80.0, -79.0), (0.5, 0.5 + 1e-9)])
def test_interval_against_higher_precision(low: float, high: float) -> None:
    density = mixture()
    actual = density.interval_log_prob(torch.tensor(low, dtype=torch.double), torch.tensor(high, dtype=torch.double))
    with mpmath.workdps(60):
        for row in range(4):
            total = mpmath.fsum(mpmath.exp(mpmath.mpf(logit)) for logit in density.logits[row].tolist())
            mass = mpmath.mpf(0)
            for logit, loc, scale in zip(
                *(part[row].tolist() for part in (density.logits, density.locs, density.scales)), strict=True
            ):
                ends = [1 / (1 + mpmath.exp(-(mpmath.mpf(end) - loc) / scale)) for end in (low, high)]
                mass += mpmath.exp(mpmath.mpf(logit)) / total * (ends[1] - ends[0])
            assert float(actual[row]) == pytest.approx(float(mpmath.log(mass)), rel=1e-10)


def test_intervals_that_partition_the_line_sum_to_one() -> None:
    """The discretized mixture of 256 values: the first interval starts at -inf, the last one ends at inf."""
    edges = torch.linspace(-1, 1, 257, dtype=torch.double)
    edges[0], edges[-1] = -torch.inf, torch.inf
    leaves = [leaf.clone().requires_grad_() for leaf in (mixture().logits, mixture().locs, mixture().scales)]
    log_masses = LogisticMixture(*leaves).interval_log_prob(edges[:-1, None], edges[1:, None])
    assert log_masses.shape == (256, 4)
    torch.testing.assert_close(log_masses.logsumexp(dim=0), torch.zeros(4, dtype=torch.double), atol=1e-12, rtol=0)
    log_masses.sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_interval_passes_the_numerical_gradient() -> None:
    leaves = [leaf.clone().requires_grad_() for leaf in (mixture().logits, mixture().locs, mixture().scales)]
    ends = (
        torch.tensor([[-torch.inf], [-0.5], [1.0]], dtype=torch.double),
        torch.tensor([[-0.5], [1.0], [torch.inf]], dtype=torch.double),
    )
    assert torch.autograd.gradcheck(lambda *leaf: LogisticMixture(*leaf).interval_log_prob(*ends), leaves)


def test_one_component_is_the_logistic_distribution() -> None:
    density = LogisticMixture(torch.zeros(1), torch.tensor([2.0]), torch.tensor([0.5]))
    torch.testing.assert_close(density.icdf(torch.tensor(0.9)), torch.tensor(2 + 0.5 * math.log(9)))
    torch.testing.assert_close(density.variance, torch.tensor(0.25 * math.pi**2 / 3))
    torch.testing.assert_close(density.mean, torch.tensor(2.0))


def test_extreme_values_stay_finite() -> None:
    density = LogisticMixture(torch.zeros(2), torch.tensor([0.0, 1.0]), torch.tensor([1e-4, 1e-4]))
    assert density.log_prob(torch.tensor([-5.0, 0.5, 7.0])).isfinite().all()
    assert density.interval_log_prob(torch.tensor(5.0), torch.tensor(6.0)).isfinite()


def test_scales_must_be_positive() -> None:
    with pytest.raises(ValueError, match="scales"):
        LogisticMixture(torch.zeros(2), torch.zeros(2), torch.tensor([1.0, -1.0]), validate_args=True)
