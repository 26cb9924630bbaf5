"""AdaCat against closed forms in extended precision, and its edge cases."""

import doctest
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trajectory_adacat.distributions import AdaCat, TruncatedUniform

# Rows of parameters by number of bins: 2,600 in total.
ROWS = {1: 200, 2: 600, 10: 800, 100: 700, 1000: 300}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def draw(bins: int, dtype: torch.dtype, std: float = 2.0) -> tuple[AdaCat, Tensor]:
    """Draw parameters with logits of this standard deviation, and points in [0, 1]."""
    generator = torch.Generator().manual_seed(bins)
    params = std * torch.randn(ROWS[bins], 2 * bins, dtype=dtype, generator=generator)
    return AdaCat.from_params(params), torch.rand(ROWS[bins], dtype=dtype, generator=generator)


def assert_close(actual: Tensor, expected: np.ndarray, where: np.ndarray | None = None) -> None:
    """Assert relative agreement with the tolerance of the dtype."""
    selected = slice(None) if where is None else where
    assert actual.isfinite().all()
    np.testing.assert_allclose(actual.numpy()[selected], expected[selected], rtol=TOLERANCE[actual.dtype], atol=1e-13)


every_size = pytest.mark.parametrize("bins", ROWS)
both_precisions = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@every_size
@both_precisions
class TestAgainstExtendedPrecision:
    def test_density_and_masses_at_points(self, bins: int, dtype: torch.dtype, exact_adacat: Any) -> None:
        density, points = draw(bins, dtype)
        exact = exact_adacat.from_logits(density.width_logits, density.mass_logits)
        clear = exact.distance_to_edge(points) > 10 * torch.finfo(dtype).eps
        assert clear.mean() > 0.9 or bins == 1000
        assert_close(density.log_prob(points), exact.log_prob(points), clear)
        assert_close(density.cdf(points), exact.cdf(points))
        assert_close(density.icdf(points), exact.icdf(points))

    def test_interval_log_prob(self, bins: int, dtype: torch.dtype, exact_adacat: Any) -> None:
        density, low = draw(bins, dtype)
        exact = exact_adacat.from_logits(density.width_logits, density.mass_logits)
        for length in (0.3, 1 / 256):
            high = low + length * (1 - low)
            assert_close(density.interval_log_prob(low, high), exact.interval_log_prob(low, high))

    def test_summaries(self, bins: int, dtype: torch.dtype, exact_adacat: Any) -> None:
        density, _ = draw(bins, dtype)
        exact = exact_adacat.from_logits(density.width_logits, density.mass_logits)
        assert_close(density.mean, exact.moment(1))
        assert_close(density.variance, exact.moment(2) - exact.moment(1) ** 2)
        assert_close(density.entropy(), exact.entropy())
        assert_close(density.widths, exact.widths)
        assert_close(density.masses, exact.masses)
        assert_close(density.edges, exact.edges)
        assert_close(density.log_density, exact.log_density)


def test_parameters_are_split_into_widths_then_masses() -> None:
    params = torch.tensor([math.log(0.25), math.log(0.75), math.log(0.6), math.log(0.4)])
    density = AdaCat.from_params(params)
    torch.testing.assert_close(density.widths, torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(density.masses, torch.tensor([0.6, 0.4]))
    torch.testing.assert_close(density.edges, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(density.log_density, torch.tensor([0.6 / 0.25, 0.4 / 0.75]).log())


@pytest.mark.parametrize("size", [0, 3])
def test_parameters_with_an_odd_or_empty_dimension_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="even dimension"):
        AdaCat.from_params(torch.zeros(2, size))


@pytest.mark.parametrize(("widths", "masses"), [((3,), (4,)), ((0,), (0,)), ((), ()), ((2, 3), (3, 3))])
def test_logits_of_different_shapes_are_refused(widths: tuple[int, ...], masses: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"number of bins|must match"):
        AdaCat(torch.zeros(widths), torch.zeros(masses))


def test_zero_logits_give_uniform_bins_or_equal_masses() -> None:
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AdaCat(torch.zeros(3, 8), logits).edges, torch.linspace(0, 1, 9).expand(3, 9))
    quantiles = AdaCat(logits, torch.zeros(3, 8))
    levels = torch.linspace(0, 1, 9).unsqueeze(-1).expand(9, 3)
    torch.testing.assert_close(quantiles.icdf(levels).T, quantiles.edges)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from([0.0, 1.0, 10.0, 50.0, 200.0, 5000.0]),
    st.integers(0, 2**31),
)
def test_finite_parameters_give_no_nan(bins: int, dtype: torch.dtype, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    params = (spread * (2 * torch.rand(6, 2 * bins, generator=generator) - 1)).to(dtype).requires_grad_()
    density = AdaCat.from_params(params)
    edges = density.edges
    assert (edges.diff(dim=-1) >= 0).all()
    assert (edges[:, 0] == 0).all()
    assert (edges[:, -1] == 1).all()
    value_dtype = torch.promote_types(dtype, torch.float32)
    points = torch.cat((edges.detach().T, torch.rand(20, 6, generator=generator, dtype=value_dtype)))
    points = torch.cat((points, torch.tensor([0.0, 1.0], dtype=value_dtype).unsqueeze(-1).expand(2, 6)))
    results = [density.log_prob(points), density.cdf(points), density.icdf(points), density.icdf_midpoint(points)]
    results += [density.mean, density.variance, density.mode, density.entropy(), density.sample(), density.rsample()]
    results += [density.interval_log_prob(0.7 * points, 0.7 * points + 0.2)]
    results += [AdaCat.from_params(params.expand(20, 6, -1)).smoothed_log_prob(TruncatedUniform(points[:20], 0.05))]
    for result in results:
        assert not result.isnan().any()
        assert result.dtype == value_dtype
    (gradient,) = torch.autograd.grad(torch.cat([result.flatten() for result in results]).sum(), params)
    overflows = dtype == torch.float16 and spread > 1000  # the gradients exceed the range of float16
    assert overflows or not gradient.isnan().any()


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(0, 2**31))
def test_cdf_stays_monotone_and_invertible_at_extreme_logits(bins: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    params = 50 * (2 * torch.randint(0, 2, (8, 2 * bins), generator=generator) - 1).double()
    params = params * torch.rand(8, 2 * bins, generator=generator, dtype=torch.double).round(decimals=1)
    density = AdaCat.from_params(params)
    points = torch.cat((torch.linspace(0, 1, 2001, dtype=torch.double).unsqueeze(-1).expand(-1, 8), density.edges.T))
    points = points.sort(dim=0).values
    assert (density.cdf(points).diff(dim=0) >= 0).all()
    levels = torch.rand(500, 8, dtype=torch.double, generator=generator)
    quantiles = density.icdf(levels)
    index = torch.searchsorted(density.masses.cumsum(dim=-1), levels.T.contiguous(), right=True)
    wide = density.widths.gather(-1, index.clamp(max=bins - 1)).T >= 1e-6
    torch.testing.assert_close(density.cdf(quantiles)[wide], levels[wide], rtol=0, atol=1e-8)


def test_bins_narrower_than_the_precision_keep_their_mass() -> None:
    density = AdaCat(torch.tensor([0.0, -60.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert density.cdf(torch.tensor(0.5)) - density.cdf(torch.tensor(0.49999997)) > 0.57
    torch.testing.assert_close(density.icdf(torch.tensor(0.5)), torch.tensor(0.5))
    torch.testing.assert_close(
        density.interval_log_prob(torch.tensor(0.4), torch.tensor(0.6)).exp(), torch.tensor(0.6609), atol=1e-4, rtol=0
    )
    assert density.interval_log_prob(torch.tensor(0.6), torch.tensor(0.8)).exp() < 0.1


def test_masses_below_the_range_of_float64_have_a_finite_logarithm() -> None:
    logits = torch.tensor([0.0, -900.0, -1000.0, 0.0], dtype=torch.double)
    density = AdaCat(torch.zeros(4, dtype=torch.double), logits)
    low, high = torch.tensor([0.25, 0.5, 0.3]).double(), torch.tensor([0.5, 0.75, 0.4]).double()
    expected = torch.tensor([-900.0, -1000.0, -900.0 + math.log(0.4)]).double() - math.log(2)
    torch.testing.assert_close(density.interval_log_prob(low, high), expected)


def test_the_support_has_mass_one_and_an_empty_interval_mass_zero() -> None:
    density, points = draw(10, torch.float32)
    torch.testing.assert_close(density.interval_log_prob(torch.tensor(0.0), torch.tensor(1.0)), torch.zeros(ROWS[10]))
    assert (density.interval_log_prob(points, points) == -torch.inf).all()
    assert (density.interval_log_prob(points + 1, points + 2) == -torch.inf).all()


def test_values_outside_the_support() -> None:
    params = torch.zeros(4)
    checked, unchecked = (AdaCat.from_params(params, validate_args=validate) for validate in (True, False))
    for value in (-0.1, 1.1, math.nan):
        for method in (checked.log_prob, checked.cdf, checked.icdf):
            with pytest.raises(ValueError):
                method(torch.tensor(value))
    assert (unchecked.log_prob(torch.tensor([-0.1, 1.1])) == -torch.inf).all()
    assert unchecked.cdf(torch.tensor([-0.1, 1.1])).tolist() == [0, 1]


def test_nan_in_gives_nan_out() -> None:
    nan = torch.tensor(math.nan)
    density = AdaCat(torch.zeros(5), torch.zeros(5), validate_args=False)
    for method in (density.log_prob, density.cdf, density.icdf, density.icdf_midpoint):
        assert method(nan).isnan()
    assert density.smoothed_log_prob(TruncatedUniform(nan, 0.1, validate_args=False)).isnan()
    unknown = AdaCat(torch.full((5,), math.nan), torch.zeros(5), validate_args=False)
    for method in (unknown.log_prob, unknown.cdf, unknown.icdf, unknown.icdf_midpoint):
        assert method(torch.tensor(0.5)).isnan()
    assert unknown.sample().isnan()
    with pytest.raises(ValueError, match="width_logits"):
        AdaCat(torch.full((5,), math.nan), torch.zeros(5), validate_args=True)


def test_cdf_is_exactly_0_and_1_at_the_ends() -> None:
    for bins in (2, 10, 100):
        density, _ = draw(bins, torch.float64)
        assert (density.cdf(torch.tensor(0.0)) == 0).all()
        assert (density.cdf(torch.tensor(1.0)) == 1).all()


def test_one_bin_is_the_uniform_distribution() -> None:
    density = AdaCat(torch.tensor([3.0]), torch.tensor([-2.0]))
    points = torch.tensor([0.0, 0.3, 1.0])
    assert density.log_prob(points).tolist() == [0, 0, 0]
    torch.testing.assert_close(density.cdf(points), points)
    torch.testing.assert_close(density.icdf(points), points)
    torch.testing.assert_close(density.variance, torch.tensor(1 / 12))


def test_an_edge_belongs_to_the_bin_above_it_and_the_end_to_the_last_bin() -> None:
    density = AdaCat(torch.zeros(4), torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    expected = 4 * torch.tensor([0.1, 0.2, 0.3, 0.4, 0.4])
    torch.testing.assert_close(density.log_prob(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])).exp(), expected)


def test_plain_gradient_of_appendix_a_is_biased_in_the_widths() -> None:
    """For w = (1/2, 1/2), h = (0.8, 0.2) and uniform data the mean gradient in the width logits is 0."""
    width_logits = torch.zeros(2, dtype=torch.double, requires_grad=True)
    density = AdaCat(width_logits, torch.tensor([0.8, 0.2], dtype=torch.double).log())
    data = (torch.arange(10_000, dtype=torch.double) + 0.5) / 10_000
    (gradient,) = torch.autograd.grad(-density.log_prob(data).mean(), width_logits)
    torch.testing.assert_close(gradient, torch.zeros(2, dtype=torch.double), atol=1e-12, rtol=0)


def test_smoothed_gradient_of_appendix_b_is_unbiased() -> None:
    """It equals the gradient of the expected likelihood of uniform data: ∓(log 4) / 4 = ∓0.3466."""
    width_logits = torch.zeros(2, dtype=torch.double, requires_grad=True)
    density = AdaCat(width_logits, torch.tensor([0.8, 0.2], dtype=torch.double).log())
    correct = torch.tensor([-0.25, 0.25], dtype=torch.double) * math.log(0.8 / 0.2)
    exact = torch.autograd.grad(-(density.widths * density.log_density).sum(), width_logits, retain_graph=True)[0]
    torch.testing.assert_close(exact, correct)
    data = (torch.arange(10_000, dtype=torch.double) + 0.5) / 10_000
    smoothed = density.smoothed_log_prob(TruncatedUniform(data, 0.1))
    (gradient,) = torch.autograd.grad(-smoothed.mean(), width_logits)
    torch.testing.assert_close(gradient, correct, atol=1e-8, rtol=0)


def test_the_example_of_the_docstring() -> None:
    results = doctest.testmod(sys.modules[AdaCat.__module__])
    assert results.attempted > 0
    assert results.failed == 0
