"""The smoothing kernels against closed forms in higher precision, at the ends of the support and in the tails."""

from collections.abc import Callable

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.distributions import Distribution

from trajectory_adacat.distributions import TruncatedNormal, TruncatedUniform

# Locations inside, at the ends and far outside of [0, 1]; scales from 1e-6 to 1e3 times the support.
NORMALS = [
    (0.3, 0.1), (0.0, 1e-6), (1.0, 1e-6), (0.0, 0.2), (1.0, 1e-3), (0.5, 10.0), (0.2, 1000.0), (0.999, 1e-4),
    (-0.5, 0.1), (1.7, 0.2), (-3.0, 0.05), (5.0, 0.08), (-40.0, 3.0),
]  # fmt: skip


def exact_normal_mass(loc: float, scale: float, low: float, high: float) -> mpf:
    a, b = (mpf(low) - mpf(loc)) / mpf(scale), (mpf(high) - mpf(loc)) / mpf(scale)
    if a > 0:
        a, b = -b, -a
    return (mpmath.erfc(-b / mpmath.sqrt(2)) - mpmath.erfc(-a / mpmath.sqrt(2))) / 2


@pytest.mark.parametrize(("loc", "scale"), NORMALS)
def test_truncated_normal_against_higher_precision(loc: float, scale: float) -> None:
    with mpmath.workdps(60):
        kernel = TruncatedNormal(torch.tensor(loc, dtype=torch.double), scale)
        mass = exact_normal_mass(loc, scale, 0, 1)
        for value in (0.003, 0.25, 0.5, 0.997):
            x = torch.tensor(value, dtype=torch.double)
            log_density = -(((mpf(value) - mpf(loc)) / mpf(scale)) ** 2) / 2 - mpmath.log(
                mpf(scale) * mpmath.sqrt(2 * mpmath.pi) * mass
            )
            assert float(kernel.log_prob(x)) == pytest.approx(float(log_density), rel=1e-10)
            share = exact_normal_mass(loc, scale, 0, value) / mass
            assert float(kernel.cdf(x)) == pytest.approx(float(share), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize(("loc", "scale"), NORMALS)
def test_moments_of_the_truncated_normal_against_closed_forms(loc: float, scale: float) -> None:
    with mpmath.workdps(60):
        mu, sigma = mpf(loc), mpf(scale)
        mass = exact_normal_mass(loc, scale, 0, 1)
        a, b = -mu / sigma, (1 - mu) / sigma
        first = (mpmath.npdf(a) - mpmath.npdf(b)) / mass
        second = (a * mpmath.npdf(a) - b * mpmath.npdf(b)) / mass
        kernel = TruncatedNormal(torch.tensor(loc, dtype=torch.double), scale)
        assert float(kernel.mean) == pytest.approx(float(mu + sigma * first), rel=1e-10)
        assert float(kernel.variance) == pytest.approx(float(sigma**2 * (1 + second - first**2)), rel=1e-10)


@pytest.mark.parametrize(("loc", "scale"), NORMALS)
def test_quantiles_of_the_truncated_normal(loc: float, scale: float) -> None:
    kernel = TruncatedNormal(torch.tensor(loc, dtype=torch.double), scale)
    levels = torch.tensor([0.0, 1e-9, 1e-3, 0.3, 0.5, 0.9, 0.999999, 1.0], dtype=torch.double)
    values = kernel.icdf(levels)
    assert ((values >= 0) & (values <= 1)).all()
    assert (values.diff() >= 0).all()
    torch.testing.assert_close(values[[0, -1]], torch.tensor([0.0, 1.0], dtype=torch.double), atol=1e-12, rtol=0)
    # The change of the cdf for one unit in the last place of the value bounds the achievable accuracy.
    granularity = 2.3e-16 * kernel.log_prob(values).exp().nan_to_num(posinf=0)
    assert ((kernel.cdf(values) - levels).abs() <= 1e-11 + 2 * granularity).all()


def test_kernels_are_symmetric_about_the_middle_of_the_support() -> None:
    locs, values = torch.rand(2, 200, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    for make in (lambda loc: TruncatedNormal(loc, 0.05), lambda loc: TruncatedUniform(loc, 0.3)):
        kernel, mirrored = make(locs), make(1 - locs)
        torch.testing.assert_close(kernel.cdf(values), 1 - mirrored.cdf(1 - values), atol=1e-14, rtol=0)
        torch.testing.assert_close(kernel.mean, 1 - mirrored.mean)
        torch.testing.assert_close(kernel.variance, mirrored.variance)


@pytest.mark.parametrize(
    ("loc", "start", "end"),
    [(0.5, 0.45, 0.55), (0.0, 0.0, 0.05), (1.0, 0.95, 1.0), (0.02, 0.0, 0.07), (0.97, 0.92, 1.0)],
)
def test_uniform_kernel_has_its_full_width_within_the_support(loc: float, start: float, end: float) -> None:
    kernel = TruncatedUniform(torch.tensor(loc, dtype=torch.double), 0.1)
    torch.testing.assert_close(kernel.icdf(torch.tensor([0.0, 1.0]).double()), torch.tensor([start, end]).double())
    assert float(kernel.mean) == pytest.approx((start + end) / 2)
    assert float(kernel.variance) == pytest.approx((end - start) ** 2 / 12)
    inside = torch.tensor([start + 0.001, end - 0.001], dtype=torch.double)
    torch.testing.assert_close(kernel.log_prob(inside).exp(), torch.full((2,), 1 / (end - start)).double())
    outside = torch.tensor([max(start - 0.01, 0), min(end + 0.01, 1)], dtype=torch.double)
    torch.testing.assert_close(kernel.cdf(outside), torch.tensor([0.0, 1.0]).double())
    beyond = [value for value, limit in zip(outside, (0.0, 1.0), strict=True) if value != limit]
    assert all(kernel.log_prob(value) == -torch.inf for value in beyond)


def test_a_narrow_uniform_kernel_keeps_its_digits() -> None:
    with mpmath.workdps(40):
        loc, width, value = 0.3, 1e-7, 0.3 + 2e-8
        kernel = TruncatedUniform(torch.tensor(loc, dtype=torch.double), width)
        exact = (mpf(value) - mpf(loc) + mpf(width) / 2) / mpf(width)
        assert float(kernel.cdf(torch.tensor(value, dtype=torch.double))) == pytest.approx(float(exact), rel=1e-13)


def test_other_supports() -> None:
    uniform = TruncatedUniform(torch.tensor(-2.0), 1.0, low=-2.0, high=3.0)
    torch.testing.assert_close(uniform.mean, torch.tensor(-1.75))
    normal = TruncatedNormal(torch.tensor(3.0), 0.5, low=-2.0, high=3.0)
    torch.testing.assert_close(normal.mean, torch.tensor(3 - 0.5 * (2 / torch.pi) ** 0.5))


@pytest.mark.parametrize("make", [
    lambda: TruncatedUniform(torch.tensor(1.2), 0.1, validate_args=True),
    lambda: TruncatedUniform(torch.tensor(0.2), 0.0, validate_args=True),
    lambda: TruncatedNormal(torch.tensor(0.2), -1.0, validate_args=True),
    lambda: TruncatedNormal(torch.tensor(float("nan")), 1.0, validate_args=True),
])  # fmt: skip
def test_wrong_parameters_are_refused(make: Callable[[], Distribution]) -> None:
    with pytest.raises(ValueError, match="constraint"):
        make()
