"""Kullback-Leibler divergences against extended precision and quadrature."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch.distributions import Uniform, kl_divergence

from trajectory_adacat.distributions import AdaCat, FixedBins

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def draw(bins: int, rows: int, seed: int, dtype: torch.dtype = torch.double) -> AdaCat:
    return AdaCat.from_params(
        2 * torch.randn(rows, 2 * bins, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("p_bins", "q_bins", "rows"), [(1, 1, 5), (2, 3, 300), (10, 10, 300), (100, 30, 300), (1000, 100, 8)]
)
def test_between_adacats_against_extended_precision(
    p_bins: int, q_bins: int, rows: int, dtype: torch.dtype, exact_adacat: Any
) -> None:
    p, q = draw(p_bins, rows, 1, dtype), draw(q_bins, rows, 2, dtype)
    exact_p, exact_q = (exact_adacat.from_logits(each.width_logits, each.mass_logits) for each in (p, q))
    divergence = kl_divergence(p, q)
    assert divergence.dtype == dtype
    np.testing.assert_allclose(divergence.numpy(), exact_p.kl(exact_q), rtol=TOLERANCE[dtype], atol=1e-13)


def test_between_adacats_agrees_with_quadrature() -> None:
    p, q = draw(5, 1, 3), draw(4, 1, 4)
    points = sorted(p.edges[0].tolist() + q.edges[0].tolist())

    def integrand(x: float) -> float:
        value = torch.tensor([x], dtype=torch.double)
        return float(p.log_prob(value).exp() * (p.log_prob(value) - q.log_prob(value)))

    pieces = [integrate.quad(integrand, a, b, epsabs=1e-13)[0] for a, b in pairwise(points) if b > a]
    assert float(kl_divergence(p, q)) == pytest.approx(sum(pieces), rel=1e-8)


def test_divergence_is_zero_from_itself_and_positive_otherwise() -> None:
    p, q = draw(12, 200, 5), draw(7, 200, 6)
    assert (kl_divergence(p, p) == 0).all()
    assert (kl_divergence(p, q) > 0).all()
    uniform_bins = AdaCat(torch.zeros(4, dtype=torch.double), torch.zeros(4, dtype=torch.double))
    uniform = Uniform(torch.tensor(0.0, dtype=torch.double), torch.tensor(1.0, dtype=torch.double))
    torch.testing.assert_close(kl_divergence(p, uniform_bins), kl_divergence(p, uniform))
    torch.testing.assert_close(kl_divergence(p, uniform), -p.entropy())


def test_infinite_where_the_second_has_no_mass() -> None:
    p, q = draw(6, 20, 7), draw(6, 20, 8)
    assert (kl_divergence(p, q.keep_top_bins(3)) == torch.inf).all()
    assert kl_divergence(p.keep_top_bins(3), p.keep_top_bins(4)).isfinite().all()
    assert (kl_divergence(p, Uniform(0.0, 0.9)) == torch.inf).all()
    wide = kl_divergence(p, Uniform(-1.0, 3.0))
    torch.testing.assert_close(wide, np.log(4) - p.entropy(), check_dtype=False)


def test_divergence_of_a_filtered_density_is_minus_the_log_of_the_kept_mass() -> None:
    p = draw(6, 20, 9)
    filtered = p.keep_top_bins(2)
    kept = (p.masses * (filtered.masses > 0)).sum(dim=-1)
    torch.testing.assert_close(kl_divergence(filtered, p), -kept.log())


def test_collapsed_bins_keep_their_mass() -> None:
    p = AdaCat(torch.tensor([0.0, -60.0, 0.0]).double(), torch.zeros(3).double())
    q = AdaCat(torch.zeros(1).double(), torch.zeros(1).double())
    torch.testing.assert_close(kl_divergence(p, q), (p.masses * p.log_density).sum())


def test_fixed_bins_and_gradients() -> None:
    fixed = FixedBins(torch.linspace(0, 1, 6, dtype=torch.double), torch.arange(5, dtype=torch.double))
    torch.testing.assert_close(
        kl_divergence(fixed, draw(3, 1, 10)),
        kl_divergence(AdaCat(torch.zeros(5).double(), fixed.logits), draw(3, 1, 10)),
    )
    leaves = [2 * torch.randn(3, 8, dtype=torch.double, generator=torch.Generator().manual_seed(s)) for s in (11, 12)]
    assert torch.autograd.gradcheck(
        lambda p, q: kl_divergence(AdaCat.from_params(p), AdaCat.from_params(q)),
        [leaf.requires_grad_() for leaf in leaves],
    )
