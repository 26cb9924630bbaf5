"""Output heads: which matrix predicts what, the edges of the baselines, and the units they share."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.distributions import AdaCat, FixedBins
from trajectory_adacat.models.heads import AdaCatHead, FixedBinsHead, quantile_edges, uniform_edges

D, E = 4, 6


def heads() -> list[AdaCatHead | FixedBinsHead]:
    edges = quantile_edges(torch.rand(300, D, generator=torch.Generator().manual_seed(1)), 5)
    made: list[AdaCatHead | FixedBinsHead] = [
        AdaCatHead(D, E, 5),
        FixedBinsHead(uniform_edges(D, 5), E),
        FixedBinsHead(edges, E),
    ]
    for i, head in enumerate(made):
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(i))
    return made


HEADS = ["adacat", "uniform", "quantile"]


@pytest.fixture(params=range(3), ids=HEADS)
def head(request: pytest.FixtureRequest) -> AdaCatHead | FixedBinsHead:
    return heads()[request.param]


@pytest.mark.parametrize("length", [1, D - 1, D, D + 1, 3 * D - 1])
def test_position_p_is_predicted_with_the_matrix_of_the_dimension_that_follows(
    head: AdaCatHead | FixedBinsHead, length: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, values = torch.randn(2, length, E, generator=generator), torch.rand(2, length, generator=generator)
    together = head.distribution(hidden).log_prob(values)
    for p in range(length):
        alone = head.distribution_of(hidden[:, p], (p + 1) % D).log_prob(values[:, p])
        torch.testing.assert_close(together[:, p], alone)


def test_each_dimension_has_a_matrix_of_its_own(head: AdaCatHead | FixedBinsHead) -> None:
    hidden = torch.randn(1, E, generator=torch.Generator().manual_seed(0)).expand(1, 3 * D, E)
    levels = torch.full((1, 3 * D), 0.3)
    before = head.distribution(hidden).icdf(levels)
    with torch.no_grad():
        head.weight[2] += torch.randn(head.weight[2].shape, generator=torch.Generator().manual_seed(5))
    changed = (head.distribution(hidden).icdf(levels) != before)[0].nonzero().flatten()
    assert changed.tolist() == [1, D + 1, 2 * D + 1]  # the positions before dimension 2


def test_adacat_has_two_outputs_a_bin_and_the_baselines_one() -> None:
    assert [head.weight.shape[-1] for head in heads()] == [10, 5, 5]


def test_a_uniform_model_has_a_log_likelihood_of_zero_in_every_parameterization() -> None:
    even = torch.linspace(0, 1, 1001)[:, None].expand(-1, D)
    for head in (AdaCatHead(D, E, 5), FixedBinsHead(uniform_edges(D, 5), E), FixedBinsHead(quantile_edges(even, 5), E)):
        torch.nn.init.zeros_(head.weight)
        values = torch.rand(2, 9, generator=torch.Generator().manual_seed(0))
        log_prob = head.distribution(torch.randn(2, 9, E)).log_prob(values)
        torch.testing.assert_close(log_prob, torch.zeros(2, 9), atol=1e-6, rtol=0)


def test_one_density_has_one_likelihood_in_every_parameterization() -> None:
    """0.7 of the mass below one half, said in three ways."""
    logits = torch.tensor([0.7, 0.3]).log()
    ways: list[Callable[[torch.Tensor], torch.Tensor]] = [
        AdaCat(torch.zeros(2), logits).log_prob,
        FixedBins(uniform_edges(1, 2)[0], logits).log_prob,
        FixedBins(quantile_edges(torch.tensor([[0.1], [0.5], [0.9]]), 2)[0], logits).log_prob,
    ]
    values = torch.tensor([0.2, 0.8])
    for log_prob in ways:
        torch.testing.assert_close(log_prob(values), torch.tensor([math.log(1.4), math.log(0.6)]))


# -- quantile edges ------------------------------------------------------------------------------------------


def test_bins_between_quantiles_hold_equal_shares_of_the_data() -> None:
    values = torch.rand(10_000, 2, generator=torch.Generator().manual_seed(0)) ** 3
    edges = quantile_edges(values, 20)
    assert edges.shape == (2, 21)
    for column, row in zip(values.T, edges, strict=True):
        counts, _ = np.histogram(column.numpy(), row.numpy())
        np.testing.assert_allclose(counts / len(column), 0.05, atol=2e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5] * 50, [0, 0.5, 1, 1, 1]),  # a constant dimension
        ([0.0] * 90 + [1.0] * 10, [0, 1, 1, 1, 1]),  # both ends alone: one bin
        ([0.0] * 30 + [0.4] * 40 + [1.0] * 30, [0, 0.4, 1, 1, 1]),
        ([0.2] * 30 + [0.4] * 40 + [0.6] * 30, [0, 0.2, 0.4, 0.6, 1]),
    ],
)
def test_coinciding_edges_are_merged(values: list[float], expected: list[float]) -> None:
    assert torch.equal(quantile_edges(torch.tensor(values)[:, None], 4)[0], torch.tensor(expected, dtype=torch.float32))


@settings(deadline=None)
@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), n_bins=st.integers(1, 12))
def test_edges_rise_from_0_to_1_and_repeat_nothing_but_the_end(values: list[float], n_bins: int) -> None:
    edges = quantile_edges(torch.tensor(values)[:, None], n_bins)[0]
    assert len(edges) == n_bins + 1
    assert float(edges[0]) == 0.0
    assert float(edges[-1]) == 1.0
    steps = edges.diff()
    n_kept = int((steps > 0).sum())
    assert (steps[:n_kept] > 0).all()
    assert (steps[n_kept:] == 0).all()
    assert set(edges.tolist()) <= {0.0, 1.0, *values}


def test_the_data_have_a_finite_likelihood_under_merged_edges() -> None:
    values = torch.tensor([0.0] * 30 + [0.4] * 40 + [1.0] * 30)[:, None]
    head = FixedBinsHead(quantile_edges(values.expand(-1, D), 8), E)
    torch.nn.init.normal_(head.weight)
    distribution = head.distribution_of(torch.randn(E), 0)
    assert distribution.log_prob(torch.tensor([0.0, 0.4, 1.0])).isfinite().all()
    samples = distribution.sample((200,))
    assert ((samples >= 0) & (samples <= 1)).all()


def test_uniform_edges_are_evenly_spaced() -> None:
    np.testing.assert_allclose(uniform_edges(2, 4).numpy(), [[0, 0.25, 0.5, 0.75, 1]] * 2)
