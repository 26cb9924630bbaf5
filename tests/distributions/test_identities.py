"""Identities that every distribution of the package must satisfy."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Independent, TransformedDistribution

from trajectory_adacat.distributions import (
    AdaCat,
    FixedBins,
    LogisticMixture,
    PiecewiseConstant,
    TruncatedNormal,
    TruncatedUniform,
)

Make = Callable[..., Distribution]
BATCH = (3, 2)


def parameters(*shape: int, dtype: torch.dtype = torch.double, seed: int = 0) -> Tensor:
    return torch.randn(*BATCH, *shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make_adacat(dtype: torch.dtype = torch.double) -> AdaCat:
    return AdaCat.from_params(parameters(14, dtype=dtype))


def make_uniform_bins(dtype: torch.dtype = torch.double) -> AdaCat:
    return AdaCat(torch.zeros(*BATCH, 7, dtype=dtype), parameters(7, dtype=dtype))


def make_adaptive_quantiles(dtype: torch.dtype = torch.double) -> AdaCat:
    return AdaCat(parameters(7, dtype=dtype), torch.zeros(*BATCH, 7, dtype=dtype))


def make_fixed_bins(dtype: torch.dtype = torch.double) -> FixedBins:
    edges = parameters(8, dtype=dtype, seed=1).sort(dim=-1).values
    edges[..., 3] = edges[..., 2]  # a bin without width inside
    edges[..., -1] = edges[..., -2]  # and one at the end
    return FixedBins(edges, parameters(7, dtype=dtype))


def make_filtered(dtype: torch.dtype = torch.double) -> AdaCat:
    return make_adacat(dtype).keep_top_bins(3)


def make_truncated_uniform(dtype: torch.dtype = torch.double) -> TruncatedUniform:
    return TruncatedUniform(torch.tensor([[0.0, 1.0], [0.05, 0.97], [0.5, 0.6]], dtype=dtype), 0.25)


def make_truncated_normal(dtype: torch.dtype = torch.double) -> TruncatedNormal:
    loc = torch.tensor([[0.0, 1.0], [0.4, 0.6], [-1.0, 1.5]], dtype=dtype)
    return TruncatedNormal(loc, torch.tensor([[0.1, 0.01], [0.3, 5.0], [0.1, 0.2]], dtype=dtype))


def make_logistic_mixture(dtype: torch.dtype = torch.double) -> LogisticMixture:
    scales = parameters(4, dtype=dtype, seed=3).exp() / 4
    return LogisticMixture(parameters(4, dtype=dtype), parameters(4, dtype=dtype, seed=2), scales)


MAKERS: list[Make] = [
    make_adacat,
    make_uniform_bins,
    make_adaptive_quantiles,
    make_fixed_bins,
    make_filtered,
    make_truncated_uniform,
    make_truncated_normal,
    make_logistic_mixture,
]
every_distribution = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("make_"))


def levels(count: int = 50, dtype: torch.dtype = torch.double) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(count, *BATCH, dtype=dtype, generator=generator)


def entry(distribution: Distribution, row: int, column: int) -> Callable[[str, float], float]:
    """Return a function that evaluates a method at a number for one member of the batch."""

    def evaluate(method: str, value: float) -> float:
        return float(getattr(distribution, method)(torch.full(BATCH, value, dtype=torch.double))[row, column])

    return evaluate


def breakpoints(distribution: Distribution, row: int, column: int) -> list[float]:
    """Return the points where the density may jump, and the ends of the interval of integration."""
    middle = distribution.icdf(
        torch.linspace(1e-12, 1 - 1e-12, 9, dtype=torch.double).reshape(-1, 1, 1).expand(9, *BATCH)
    )
    points = middle[:, row, column].tolist()
    if isinstance(distribution, AdaCat | FixedBins):
        points += distribution.edges[row, column].tolist()
    elif isinstance(distribution, TruncatedUniform | TruncatedNormal):
        points += [float(end[row, column]) for end in distribution.interval]
    return sorted(set(points))


def expectation(distribution: Distribution, row: int, column: int, function: Callable[[float], float]) -> float:
    """Integrate by adaptive quadrature between the breakpoints."""
    evaluate = entry(distribution, row, column)
    points = breakpoints(distribution, row, column)
    total = 0.0
    for low, high in itertools.pairwise(points):
        inset = 1e-9 * (high - low)  # stay off the jump
        total += integrate.quad(
            lambda x: math.exp(evaluate("log_prob", x)) * function(x), low + inset, high - inset, epsabs=1e-11, limit=80
        )[0]
    return total


@every_distribution
def test_cdf_inverts_icdf(make: Make) -> None:
    distribution, level = make(), levels()
    torch.testing.assert_close(distribution.cdf(distribution.icdf(level)), level, rtol=0, atol=1e-11)


@every_distribution
def test_derivative_of_the_cdf_is_the_density(make: Make) -> None:
    distribution = make()
    value = distribution.icdf(levels()).requires_grad_()
    (slope,) = torch.autograd.grad(distribution.cdf(value).sum(), value)
    torch.testing.assert_close(slope, distribution.log_prob(value.detach()).exp(), rtol=1e-9, atol=0)


@every_distribution
def test_derivative_of_the_quantile_is_one_over_the_density(make: Make) -> None:
    distribution, level = make(), levels().requires_grad_()
    value = distribution.icdf(level)
    (slope,) = torch.autograd.grad(value.sum(), level)
    torch.testing.assert_close(slope, (-distribution.log_prob(value.detach())).exp(), rtol=1e-7, atol=0)


@every_distribution
def test_cdf_and_icdf_do_not_decrease(make: Make) -> None:
    distribution, level = make(), levels(300).sort(dim=0).values
    value = distribution.icdf(level)
    assert (value.diff(dim=0) >= 0).all()
    assert (distribution.cdf(value).diff(dim=0) >= 0).all()


@pytest.mark.parametrize("make", [make_adacat, make_fixed_bins, make_logistic_mixture], ids=lambda make: make.__name__)
def test_mass_of_an_interval_is_a_difference_of_the_cdf(
    make: Callable[[], PiecewiseConstant | LogisticMixture],
) -> None:
    distribution = make()
    ends = distribution.icdf(levels(20).sort(dim=0).values)
    mass = distribution.interval_log_prob(ends[:-1], ends[1:]).exp()
    torch.testing.assert_close(mass, distribution.cdf(ends).diff(dim=0), rtol=0, atol=1e-12)


@every_distribution
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 1), (2, 0)])
def test_mean_and_variance_agree_with_quadrature(make: Make, row: int, column: int) -> None:
    distribution = make()
    distribution._validate_args = False  # a point of one member may lie outside the support of another
    assert expectation(distribution, row, column, lambda x: 1.0) == pytest.approx(1, abs=1e-7)
    mean = float(distribution.mean[row, column])
    assert expectation(distribution, row, column, lambda x: x) == pytest.approx(mean, rel=1e-6, abs=1e-7)
    variance = float(distribution.variance[row, column])
    assert expectation(distribution, row, column, lambda x: (x - mean) ** 2) == pytest.approx(variance, rel=1e-6)


@every_distribution
@pytest.mark.parametrize("method", ["sample", "rsample"])
def test_samples_pass_a_kolmogorov_smirnov_test(make: Make, method: str) -> None:
    torch.manual_seed(0)
    distribution = make()
    samples = getattr(distribution, method)((4000,)).detach()
    assert samples.shape == (4000, *BATCH)
    level = distribution.cdf(samples)
    for row in range(BATCH[0]):
        for column in range(BATCH[1]):
            assert stats.kstest(level[:, row, column].numpy(), "uniform").pvalue > 1e-3


@every_distribution
def test_samples_have_a_finite_log_density(make: Make) -> None:
    torch.manual_seed(1)
    distribution = make()
    assert distribution.log_prob(distribution.sample((2000,))).isfinite().all()


@every_distribution
def test_expand_keeps_everything(make: Make) -> None:
    distribution = make()
    distribution.cdf(distribution.mean)  # fill the caches, which must not keep the old shape
    expanded = distribution.expand((4, *BATCH))
    assert expanded.batch_shape == (4, *BATCH)
    assert expanded._validate_args == distribution._validate_args
    assert type(expanded) is type(distribution)
    value = distribution.icdf(levels(4))
    for name in ("log_prob", "cdf"):
        torch.testing.assert_close(getattr(expanded, name)(value), getattr(distribution, name)(value))
    torch.testing.assert_close(expanded.icdf(levels(4)), value)
    for name in ("mean", "variance"):
        torch.testing.assert_close(getattr(expanded, name), getattr(distribution, name).expand(4, *BATCH))
    assert expanded.sample((5,)).shape == (5, 4, *BATCH)
    assert expanded.rsample().shape == (4, *BATCH)


@every_distribution
def test_values_broadcast_against_the_batch(make: Make) -> None:
    distribution = make()
    value = distribution.mean[0, 0]
    unchecked = distribution.expand(BATCH)
    unchecked._validate_args = False  # the value may lie outside the support of another member
    expected = unchecked.cdf(value.expand(BATCH))
    torch.testing.assert_close(unchecked.cdf(value), expected)
    torch.testing.assert_close(unchecked.cdf(value.reshape(1, 1, 1, 1)), expected[None, None])
    torch.testing.assert_close(unchecked.cdf(value.expand(5, 1, 2)), expected.expand(5, *BATCH))


@every_distribution
def test_float32_parameters_give_float32_results(make: Make) -> None:
    exact, single = make(), make(torch.float32)
    level = levels(dtype=torch.float32)
    value = single.icdf(level)
    assert value.dtype == single.mean.dtype == single.variance.dtype == single.sample().dtype == torch.float32
    assert single.log_prob(value).dtype == single.cdf(value).dtype == torch.float32
    torch.testing.assert_close(value.double(), exact.icdf(level.double()), rtol=1e-4, atol=1e-5)


@every_distribution
def test_nan_gives_nan(make: Make) -> None:
    distribution = make()
    distribution._validate_args = False
    for method in (distribution.log_prob, distribution.cdf, distribution.icdf):
        assert method(torch.tensor(math.nan, dtype=torch.double)).isnan().all()


@every_distribution
def test_values_outside_the_support_are_refused(make: Make) -> None:
    distribution = make()
    outside = torch.full(BATCH, math.nan if isinstance(distribution, LogisticMixture) else 99.0, dtype=torch.double)
    with pytest.raises(ValueError, match="support"):
        distribution.log_prob(outside)
    if not isinstance(distribution, LogisticMixture):
        distribution._validate_args = False
        assert (distribution.log_prob(outside) == -torch.inf).all()


def rebuild(distribution: Distribution) -> tuple[list[Tensor], Make]:
    """Return the differentiable parameters of a distribution, and a constructor that takes only these."""
    if isinstance(distribution, FixedBins):
        edges = distribution.edges
        return [distribution.logits], lambda logits: FixedBins(edges, logits)
    if isinstance(distribution, AdaCat) and (distribution.masses == 0).any():  # a logit of -inf cannot be varied
        mass_logits = distribution.mass_logits
        return [distribution.width_logits], lambda width_logits: AdaCat(width_logits, mass_logits)
    return [getattr(distribution, name) for name in distribution.arg_constraints], type(distribution)


@every_distribution
def test_gradient_of_rsample_is_the_pathwise_one(make: Make) -> None:
    tensors, constructor = rebuild(make())
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]

    def draw(*leaves: Tensor) -> Tensor:
        torch.manual_seed(3)
        return constructor(*leaves).rsample((4,))

    if make is make_truncated_uniform:
        leaves[0].data.clamp_(0.01, 0.99)  # at an end the location cannot be moved in both directions
    assert torch.autograd.gradcheck(draw, leaves)


@every_distribution
def test_works_within_the_wrappers_of_torch(make: Make) -> None:
    distribution = make()
    independent = Independent(distribution, 1)
    assert independent.log_prob(independent.sample((5,))).shape == (5, 3)
    assert independent.expand((4, 3)).rsample().shape == (4, *BATCH)
    moved = TransformedDistribution(distribution, AffineTransform(2.0, 3.0))
    value = moved.icdf(levels())
    torch.testing.assert_close(moved.cdf(value), levels(), rtol=0, atol=1e-10)
    expected = distribution.log_prob(distribution.icdf(levels())) - math.log(3)
    torch.testing.assert_close(moved.log_prob(value), expected, rtol=1e-6, atol=1e-6)
