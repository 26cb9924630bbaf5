"""Filters, midpoints and the mode, for adaptive and for fixed bins."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trajectory_adacat.distributions import AdaCat, FixedBins, PiecewiseConstant

MASSES = torch.tensor([0.1, 0.3, 0.05, 0.4, 0.15])
EDGES = torch.tensor([0.0, 0.1, 0.5, 0.6, 0.9, 1.0])


def adaptive(masses: Tensor = MASSES) -> AdaCat:
    return AdaCat(EDGES.diff().log().expand_as(masses), masses.log())


def fixed(masses: Tensor = MASSES) -> FixedBins:
    return FixedBins(EDGES, masses.log())


both = pytest.mark.parametrize("make", [adaptive, fixed])


@both
@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (lambda density: density.keep_top_bins(1), [3]),
        (lambda density: density.keep_top_bins(0), [3]),
        (lambda density: density.keep_top_bins(2), [1, 3]),
        (lambda density: density.keep_top_bins(9), [0, 1, 2, 3, 4]),
        (lambda density: density.drop_bins(0.0), [0, 1, 2, 3, 4]),
        (lambda density: density.drop_bins(0.59), [1, 3, 4]),
        (lambda density: density.drop_bins(0.6), [1, 3]),
        (lambda density: density.drop_bins(1.0), [3]),
        (lambda density: density.keep_top_mass(0.0), [3]),
        (lambda density: density.keep_top_mass(0.4), [3]),
        (lambda density: density.keep_top_mass(0.41), [1, 3]),
        (lambda density: density.keep_top_mass(0.86), [0, 1, 3, 4]),
        (lambda density: density.keep_top_mass(1.0), [0, 1, 2, 3, 4]),
    ],
)
def test_filters_keep_the_bins_of_largest_mass(
    make: Callable[[], PiecewiseConstant], keep: Callable, kept: list[int]
) -> None:
    density = make()
    filtered = keep(density)
    expected = torch.zeros(5)
    expected[kept] = MASSES[kept] / MASSES[kept].sum()
    assert type(filtered) is type(density)
    torch.testing.assert_close(filtered.masses, expected)
    assert (filtered.masses > 0).nonzero().flatten().tolist() == kept
    torch.testing.assert_close(filtered.edges, density.edges)
    torch.testing.assert_close(density.masses, MASSES)  # the original is unchanged


@both
def test_dropped_bins_have_no_density_and_no_samples(make: Callable[[], PiecewiseConstant]) -> None:
    torch.manual_seed(0)
    filtered = make().keep_top_bins(2)
    inside, outside = torch.tensor([0.2, 0.7]), torch.tensor([0.05, 0.55, 0.95, 1.0])
    torch.testing.assert_close(filtered.log_prob(inside).exp(), torch.tensor([0.3 / 0.4, 0.4 / 0.3]) / 0.7)
    assert (filtered.log_prob(outside) == -torch.inf).all()
    samples = filtered.sample((5000,))
    assert (((samples >= 0.1) & (samples <= 0.5)) | ((samples >= 0.6) & (samples <= 0.9))).all()
    ends = filtered.icdf(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(filtered.entropy(), -(filtered.masses * filtered.log_density)[[1, 3]].sum())


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**31), st.booleans())
def test_filters_keep_the_largest_masses_and_the_right_number(
    bins: int, fraction: float, seed: int, ties: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 2 * bins, generator=generator)
    density = AdaCat.from_params(logits.round() if ties else logits)
    by_count, by_mass = density.drop_bins(fraction), density.keep_top_mass(fraction)
    for filtered in (by_count, by_mass):
        kept = filtered.masses > 0
        assert kept.any(dim=-1).all()
        least_kept = density.masses.masked_fill(~kept, 2).amin(dim=-1)
        most_dropped = density.masses.masked_fill(kept, 0).amax(dim=-1)
        assert (least_kept >= most_dropped).all()
        torch.testing.assert_close(filtered.masses.sum(dim=-1), torch.ones(4))
    dropped = (by_count.masses == 0).sum(dim=-1)
    assert (dropped == min(int(bins * fraction + 1e-6), bins - 1)).all()
    held = (density.masses * (by_mass.masses > 0)).sum(dim=-1)
    assert (held >= fraction - 1e-5).all()
    without_least = held - density.masses.masked_fill(by_mass.masses == 0, 2).amin(dim=-1)
    assert ((without_least < fraction + 1e-5) | ((by_mass.masses > 0).sum(dim=-1) == 1)).all()


def test_drop_bins_does_not_count_bins_without_mass() -> None:
    edges = torch.tensor([[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]])
    density = FixedBins(edges, torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15]).log())
    kept = density.drop_bins(0.5).masses > 0
    assert kept.tolist() == [[False, True, True, True, False], [False, True, False, False, False]]


def test_filters_tolerate_rounding_of_equal_masses() -> None:
    density = AdaCat(torch.zeros(10), torch.zeros(10))
    for count in range(1, 10):
        assert (density.keep_top_mass(count / 10).masses > 0).sum() == count
    for bins in (7, 49, 100, 1000):
        equal = AdaCat(torch.zeros(bins), torch.zeros(bins))
        for count in range(0, bins, 1 + bins // 100):
            assert (equal.drop_bins(count / bins).masses == 0).sum() == count


@both
def test_filters_can_be_combined(make: Callable[[], PiecewiseConstant]) -> None:
    torch.testing.assert_close(make().keep_top_bins(3).keep_top_mass(0.5).masses[[1, 3]], torch.tensor([3 / 7, 4 / 7]))


@both
def test_filters_stay_differentiable(make: Callable[[Tensor], PiecewiseConstant]) -> None:
    masses = MASSES.clone().requires_grad_()
    make(masses).keep_top_bins(2).log_prob(torch.tensor(0.7)).backward()
    assert masses.grad is not None
    assert masses.grad.isfinite().all()
    assert masses.grad[[0, 2, 4]].eq(0).all()


@both
def test_mode_is_the_midpoint_of_the_bin_of_highest_density(make: Callable[[], PiecewiseConstant]) -> None:
    density = make()  # densities 1, 0.75, 0.5, 1.33, 1.5
    torch.testing.assert_close(density.mode, torch.tensor(0.95))
    torch.testing.assert_close(density.keep_top_bins(1).mode, torch.tensor(0.75))


@both
def test_midpoints(make: Callable[[], PiecewiseConstant]) -> None:
    torch.manual_seed(0)
    density = make()
    levels = torch.tensor([0.0, 0.05, 0.2, 0.42, 0.5, 0.9, 1.0])
    expected = torch.tensor([0.05, 0.05, 0.3, 0.55, 0.75, 0.95, 0.95])
    torch.testing.assert_close(density.icdf_midpoint(levels), expected)
    samples = density.sample((4000,), within_bin="midpoint")
    for middle, mass in zip([0.05, 0.3, 0.55, 0.75, 0.95], MASSES.tolist(), strict=True):
        assert (samples - middle).abs().lt(1e-6).float().mean().item() == pytest.approx(mass, abs=0.03)


@both
def test_an_empty_batch_works(make: Callable[[Tensor], PiecewiseConstant]) -> None:
    density = make(MASSES.expand(0, 5))
    assert density.sample().shape == density.mean.shape == density.mode.shape == (0,)
    assert density.drop_bins(0.5).icdf(torch.zeros(0)).shape == (0,)
    assert density.log_prob(torch.zeros(3, 0)).shape == (3, 0)


def test_width_at_is_the_width_of_the_bin_that_holds_the_value() -> None:
    density = AdaCat(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.3, 0.6]]).log(), torch.zeros(2, 3))
    values = torch.tensor([[0.0], [0.55], [1.0]])
    torch.testing.assert_close(density.width_at(values), torch.tensor([[0.5, 0.1], [0.25, 0.6], [0.25, 0.6]]))
