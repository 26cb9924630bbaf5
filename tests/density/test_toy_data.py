"""The toy target densities."""

import pytest
import torch

from trajectory_adacat.density.toy_data import two_gaussians, two_spirals


def test_spirals_lie_in_the_unit_square_and_are_symmetric_about_its_centre() -> None:
    points = two_spirals(20_000, torch.Generator().manual_seed(0))
    assert points.shape == (20_000, 2)
    assert ((points > 0) & (points < 1)).all()
    for arm in (points[::2], points[1::2]):  # the mean of an arm is off the centre
        assert (arm.mean(dim=0) - 0.5).abs().max() > 0.01
    torch.testing.assert_close(points[::2].mean(dim=0), 1 - points[1::2].mean(dim=0), atol=0.01, rtol=0)


def test_spirals_grow_with_the_angle() -> None:
    points = 8 * two_spirals(20_000, torch.Generator().manual_seed(0)) - 4
    radius = points.norm(dim=-1)
    assert radius.max() == pytest.approx(3 * torch.pi / 3, abs=0.7)
    assert radius.quantile(0.5) == pytest.approx(
        torch.pi * 0.5**0.5, abs=0.15
    )  # the angle is the square root of a uniform variable


def test_the_generator_determines_the_spirals() -> None:
    first, same, other = (two_spirals(10, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_nearly_all_mass_of_the_mixture_lies_in_the_unit_interval() -> None:
    target = two_gaussians()
    assert target.cdf(torch.tensor(1.0)) - target.cdf(torch.tensor(0.0)) > 1 - 1e-6
