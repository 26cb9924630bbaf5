"""The smoothed log-likelihood and its gradient against the definition."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from scipy import integrate
from torch import Tensor
from torch.distributions import Distribution, Normal, Uniform

from trajectory_adacat.distributions import AdaCat, PiecewiseConstant, TruncatedNormal, TruncatedUniform

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
Kernel = type[TruncatedNormal] | type[TruncatedUniform]
both_kernels = pytest.mark.parametrize(
    "kernel", [TruncatedUniform, TruncatedNormal], ids=lambda kernel: kernel.__name__
)


def draw(rows: int, bins: int, dtype: torch.dtype = torch.double, std: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(bins)
    params = std * torch.randn(rows, 2 * bins, dtype=dtype, generator=generator)
    loc = torch.rand(rows, dtype=dtype, generator=generator)
    loc[0], loc[-1] = 0.0, 1.0
    return params, loc


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("width", [1.5, 0.1, 1e-3])
@pytest.mark.parametrize(("bins", "rows"), [(1, 50), (2, 300), (10, 300), (100, 300), (1000, 100)])
def test_uniform_kernel_against_extended_precision(
    bins: int, rows: int, width: float, dtype: torch.dtype, exact_adacat: Any
) -> None:
    params, loc = draw(rows, bins, dtype)
    exact = exact_adacat.from_logits(params[:, :bins], params[:, bins:])
    kernel = TruncatedUniform(loc, width)
    centre = loc.double().numpy().astype(np.longdouble)[:, None]
    half = kernel.width.double().numpy().astype(np.longdouble)[:, None] / 2
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, 1)
    expected = exact.smoothed_log_prob(lambda edges: np.clip((edges - low) / (high - low), 0, 1))
    actual = AdaCat.from_params(params).smoothed_log_prob(kernel)
    assert actual.dtype == dtype
    # An edge has an error of 1e-16 in float64, so the mass of a kernel of width 1e-3 has 1e-13, times density jumps.
    np.testing.assert_allclose(actual.numpy(), expected, rtol=TOLERANCE[dtype], atol=1e-11)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("scale", [0.3, 1e-2, 1e-4])
def test_normal_kernel_against_higher_precision(scale: float, dtype: torch.dtype, exact_adacat: Any) -> None:
    params, loc = draw(12, 10, dtype)
    exact = exact_adacat.from_logits(params[:, :10], params[:, 10:])
    actual = AdaCat.from_params(params).smoothed_log_prob(TruncatedNormal(loc, scale))
    scale = torch.tensor(scale, dtype=dtype).item()
    with mpmath.workdps(30):
        for row in range(12):
            distribution = [
                mpmath.ncdf((mpf(str(edge)) - mpf(loc[row].item())) / mpf(scale)) for edge in exact.edges[row]
            ]
            total = distribution[-1] - distribution[0]
            shares = [float((after - before) / total) for before, after in pairwise(distribution)]
            expected = float((np.array(shares) * exact.log_density[row]).sum())
            assert float(actual[row]) == pytest.approx(expected, rel=TOLERANCE[dtype], abs=1e-12)


@both_kernels
@pytest.mark.parametrize("spread", [0.01, 0.5])
def test_agrees_with_quadrature(kernel: Kernel, spread: float) -> None:
    params, loc = draw(4, 6)
    density, smoothing = AdaCat.from_params(params), kernel(loc, spread)
    actual = density.smoothed_log_prob(smoothing)
    for row in range(4):
        one, weight = AdaCat.from_params(params[row]), kernel(loc[row], spread)
        ends = [float(end) for end in weight.interval]
        points = sorted(ends + [edge for edge in one.edges.tolist() if ends[0] < edge < ends[1]])

        def integrand(x: float, one: AdaCat = one, weight: Distribution = weight) -> float:
            value = torch.tensor(x, dtype=torch.double)
            return float(weight.log_prob(value).exp() * one.log_prob(value))

        pieces = [integrate.quad(integrand, low, high, epsabs=1e-12)[0] for low, high in pairwise(points)]
        assert float(actual[row]) == pytest.approx(sum(pieces), rel=1e-8)


@both_kernels
@pytest.mark.parametrize("spread", [1e-3, 0.2, 3.0])
def test_numerical_gradient(kernel: Kernel, spread: float) -> None:
    params, loc = draw(5, 7, std=1.0)
    params.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda leaf: AdaCat.from_params(leaf).smoothed_log_prob(kernel(loc, spread)), params
    )


@both_kernels
def test_numerical_gradient_in_the_kernels_parameters(kernel: Kernel) -> None:
    params, _ = draw(5, 7, std=1.0)
    loc = torch.tensor([0.2, 0.4, 0.5, 0.6, 0.8], dtype=torch.double, requires_grad=True)
    spread = torch.tensor(0.15, dtype=torch.double, requires_grad=True)

    def evaluate(*leaves: Tensor) -> Tensor:
        return AdaCat.from_params(leaves[0]).smoothed_log_prob(kernel(leaves[1], leaves[2].expand(5)))

    assert torch.autograd.gradcheck(evaluate, (params.requires_grad_(), loc, spread))


@both_kernels
@pytest.mark.parametrize(("bins", "std"), [(3, 1.0), (50, 2.0), (300, 6.0)])
def test_overlapping_bins_give_the_same_as_all_bins(kernel: Kernel, bins: int, std: float) -> None:
    """Compare values and gradients, for separate and joint logits, for kernels within one bin and across most bins."""
    params, loc = draw(60, bins, std=std)
    for spread in (1e-4, 0.05, 0.9):
        upstream = torch.rand(60, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        results = []
        for evaluate in (
            lambda leaf, smoothing: PiecewiseConstant.smoothed_log_prob(AdaCat.from_params(leaf), smoothing),
            lambda leaf, smoothing: AdaCat.from_params(leaf).smoothed_log_prob(smoothing),
            lambda leaf, smoothing: AdaCat(leaf[:, :bins], leaf[:, bins:]).smoothed_log_prob(smoothing),
        ):
            leaf = params.clone().requires_grad_()
            value = evaluate(leaf, kernel(loc, spread))
            results.append((value, torch.autograd.grad(value @ upstream, leaf)[0]))
        for value, gradient in results[1:]:
            torch.testing.assert_close(value, results[0][0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(gradient, results[0][1], rtol=1e-7, atol=1e-9)


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    params, loc = draw(23, 9)
    whole = AdaCat.from_params(params).smoothed_log_prob(TruncatedUniform(loc, 0.1))
    monkeypatch.setattr("trajectory_adacat.distributions.smoothed_likelihood._CHUNK_ON_CPU", 40)
    pieces = AdaCat.from_params(params).smoothed_log_prob(TruncatedUniform(loc, 0.1))
    torch.testing.assert_close(pieces, whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda loc: Normal(loc, 0.05),
        lambda loc: Uniform(loc - 0.1, loc + 0.1),
        lambda loc: AdaCat(torch.zeros(3, dtype=torch.double), torch.tensor([0.0, 2.0, 1.0], dtype=torch.double)),
    ],
)
def test_any_distribution_with_a_cdf_smooths(make: Callable[[Tensor], Distribution]) -> None:
    params, loc = draw(8, 5)
    density, kernel = AdaCat.from_params(params), make(loc)
    edges = density.edges
    if isinstance(kernel, Uniform):
        cdf = ((edges - loc.unsqueeze(-1) + 0.1) / 0.2).clamp(0, 1)
    else:
        cdf = kernel.cdf(edges.T).T if isinstance(kernel, Normal) else kernel.cdf(edges)
    expected = (cdf.diff(dim=-1) * density.log_density).sum(dim=-1)
    torch.testing.assert_close(density.smoothed_log_prob(kernel), expected)


@both_kernels
def test_kernel_mass_outside_the_support_is_ignored(kernel: Kernel) -> None:
    params, _ = draw(2, 5)
    smoothing = kernel(torch.tensor([0.02, 0.99], dtype=torch.double), 0.1, -1.0, 2.0)
    density = AdaCat.from_params(params)
    shares = smoothing.cdf(density.edges.T).T.diff(dim=-1)
    assert (shares.sum(dim=-1) < 0.9).all()
    torch.testing.assert_close(density.smoothed_log_prob(smoothing), (shares * density.log_density).sum(dim=-1))


def test_batches_broadcast() -> None:
    params, loc = draw(6, 5)
    kernel = TruncatedUniform(loc, 0.2)
    one = AdaCat.from_params(params[2]).smoothed_log_prob(kernel)
    assert one.shape == (6,)
    torch.testing.assert_close(one[3], AdaCat.from_params(params[2]).smoothed_log_prob(TruncatedUniform(loc[3], 0.2)))
    table = AdaCat.from_params(params.reshape(2, 3, 10)).smoothed_log_prob(TruncatedUniform(loc[:3], 0.2))
    assert table.shape == (2, 3)
    assert AdaCat.from_params(params[:0]).smoothed_log_prob(TruncatedUniform(loc[:0], 0.2)).shape == (0,)


def test_a_dropped_bin_matters_only_if_it_overlaps_the_kernel() -> None:
    density = AdaCat(torch.zeros(4), torch.tensor([0.0, 3.0, 0.0, 0.0], requires_grad=True)).keep_top_bins(1)
    kernel = TruncatedUniform(torch.tensor([0.3, 0.26, 0.9]), 0.05)
    actual = density.expand((3,)).smoothed_log_prob(kernel)
    torch.testing.assert_close(actual, torch.tensor([4.0, 0.0, 0.0]).log())


@both_kernels
def test_a_dropped_bin_without_kernel_mass_does_not_matter(kernel: Kernel) -> None:
    params = torch.tensor([0.0, -60.0, 0.0, 1.0, -torch.inf, 0.0], dtype=torch.double, requires_grad=True)
    actual = AdaCat.from_params(params).smoothed_log_prob(kernel(torch.tensor(0.5, dtype=torch.double), 0.1))
    masses = torch.tensor([1.0, 0.0], dtype=torch.double).softmax(dim=-1)
    torch.testing.assert_close(actual, (2 * masses).log().mean())
    (gradient,) = torch.autograd.grad(actual, params)
    assert gradient.isfinite().all()


def test_a_kernel_as_wide_as_the_support_gives_the_mean_log_density() -> None:
    params, _ = draw(5, 8)
    density = AdaCat.from_params(params)
    expected = (density.widths * density.log_density).sum(dim=-1)
    torch.testing.assert_close(density.smoothed_log_prob(TruncatedUniform(torch.tensor(0.5), 1.0)), expected)


def test_gradient_is_unbiased_for_the_smoothed_data(exact_adacat: Any) -> None:
    """Claim B.1: the mean over the data is the gradient of the likelihood of the smoothed data distribution.

    The data have density 2x. The reference smooths it and integrates by quadrature, then differentiates numerically.
    """
    params, _ = draw(1, 4, std=1.0)
    width = 0.3
    count = 20_000
    loc = ((torch.arange(count, dtype=torch.double) + 0.5) / count).sqrt()  # quantiles of the data
    leaf = params[0].clone().requires_grad_()
    smoothed = AdaCat.from_params(leaf).smoothed_log_prob(TruncatedUniform(loc, width)).mean()
    (gradient,) = torch.autograd.grad(smoothed, leaf)

    grid = (torch.arange(4_000, dtype=torch.double) + 0.5) / 4_000
    kernels = TruncatedUniform(grid, width)
    low, high = kernels.interval

    def smoothed_density(x: float) -> float:
        return float(((low <= x) & (x < high)).double().div(high - low).mul(2 * grid).mean())

    points = np.linspace(0, 1, 2_001)
    cumulative = integrate.cumulative_simpson([smoothed_density(x) for x in points], x=points, initial=0)

    def likelihood(values: np.ndarray) -> float:
        exact = exact_adacat.from_logits(torch.tensor(values[None, :4]), torch.tensor(values[None, 4:]))
        return float(exact.smoothed_log_prob(lambda edges: np.interp(edges.astype(float), points, cumulative))[0])

    step = 1e-2
    for index in range(8):
        shift = step * np.eye(8)[index]
        slope = (likelihood(params[0].numpy() + shift) - likelihood(params[0].numpy() - shift)) / (2 * step)
        assert float(gradient[index]) == pytest.approx(slope, abs=2e-3)
