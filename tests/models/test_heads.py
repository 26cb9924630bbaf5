"""Output heads: which matrix predicts what, the edges of the baselines, and the units they share."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor

from trajectory_adacat.distributions import AdaCat, FixedBins
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import TokenEmbedding, uniform_edges
from trajectory_adacat.models.heads.adacat import AdaCatConfig, AdaCatHead
from trajectory_adacat.models.heads.base import Head
from trajectory_adacat.models.heads.fixed_bins import FixedBinsHead, MuLawConfig, mu_law_edges, quantile_edges
from trajectory_adacat.models.heads.gaussian import GaussianConfig, UnitNormal
from trajectory_adacat.models.heads.logistic_mixture import LogisticMixtureConfig, LogisticMixtureHead

D, E = 4, 6


def heads() -> list[Head]:
    edges = quantile_edges(torch.rand(300, D, generator=torch.Generator().manual_seed(1)), 5)
    made: list[Head] = [
        AdaCatHead(D, E, AdaCatConfig(n_bins=5)),
        FixedBinsHead(uniform_edges(D, 5), E),
        FixedBinsHead(edges, E),
        LogisticMixtureHead(D, E, 5),
    ]
    for i, head in enumerate(made):
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(i))
    return made


HEADS = ["adacat", "uniform", "quantile", "logistic_mixture"]


@pytest.fixture(params=range(4), ids=HEADS)
def head(request: pytest.FixtureRequest) -> Head:
    return heads()[request.param]


@pytest.mark.parametrize("length", [1, D - 1, D, D + 1, 3 * D - 1])
def test_position_p_is_predicted_with_the_matrix_of_the_dimension_that_follows(head: Head, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, values = torch.randn(2, length, E, generator=generator), torch.rand(2, length, generator=generator)
    together = head.distribution(hidden).log_prob(values)
    for p in range(length):
        alone = head.distribution_of(hidden[:, p], (p + 1) % D).log_prob(values[:, p])
        torch.testing.assert_close(together[:, p], alone)


def test_each_dimension_has_a_matrix_of_its_own(head: Head) -> None:
    hidden = torch.randn(1, E, generator=torch.Generator().manual_seed(0)).expand(1, 3 * D, E)
    values = torch.full((1, 3 * D), 0.3)
    before = head.distribution(hidden).log_prob(values)
    with torch.no_grad():
        head.weight[2] += torch.randn(head.weight[2].shape, generator=torch.Generator().manual_seed(5))
    changed = (head.distribution(hidden).log_prob(values) != before)[0].nonzero().flatten()
    assert changed.tolist() == [1, D + 1, 2 * D + 1]  # the positions before dimension 2


def test_adacat_has_two_outputs_per_bin_fixed_bins_one_and_a_mixture_three_per_component() -> None:
    assert [head.weight.shape[-1] for head in heads()] == [10, 5, 5, 15]


def test_a_uniform_model_has_a_log_likelihood_of_zero_in_every_parameterization() -> None:
    even = torch.linspace(0, 1, 1001)[:, None].expand(-1, D)
    edges = (uniform_edges(D, 5), quantile_edges(even, 5))
    for head in (AdaCatHead(D, E, AdaCatConfig(n_bins=5)), *(FixedBinsHead(found, E) for found in edges)):
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


# -- smoothing -----------------------------------------------------------------------------------------------


def smoothed_loss(distribution: AdaCat, targets: Tensor, **settings: Any) -> Tensor:
    return AdaCatHead(D, E, AdaCatConfig(n_bins=2, **settings)).loss(distribution, targets)


def two_bins(edge: float, masses: tuple[float, float] = (0.8, 0.2)) -> AdaCat:
    return AdaCat(torch.tensor([edge, 1 - edge]).log(), torch.tensor(masses).log())


def log_densities(edge: float) -> np.ndarray:
    return np.log(np.array([0.8, 0.2]) / np.array([edge, 1 - edge]))


def test_the_uniform_coefficient_is_the_kernels_full_width() -> None:
    """A target a quarter of the coefficient right of an edge has a quarter of its kernel left of it."""
    width, edge = 0.2, 0.4
    target = torch.tensor(edge + width / 4)
    expected = -np.dot([0.25, 0.75], log_densities(edge))
    loss = smoothed_loss(two_bins(edge), target, smooth_coeff=width)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_target_half_a_width_from_an_edge_is_not_smoothed_across_it() -> None:
    target = torch.tensor(0.4 + 0.101)
    smoothed, plain = (smoothed_loss(two_bins(0.4), target, smooth_coeff=c) for c in (0.2, 0.0))
    torch.testing.assert_close(smoothed, plain)


def test_the_normal_coefficient_is_the_kernels_scale() -> None:
    share = norm.cdf(-0.5)
    expected = -np.dot([share, 1 - share], log_densities(0.4))
    loss = smoothed_loss(two_bins(0.4), torch.tensor(0.405), smooth_coeff=0.01, smooth_type="normal")
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_without_smoothing_the_loss_is_the_negative_log_density() -> None:
    targets = torch.tensor([0.1, 0.4, 0.9])
    expected = -two_bins(0.4).log_prob(targets)
    torch.testing.assert_close(smoothed_loss(two_bins(0.4), targets, smooth_coeff=0.0), expected)


def test_targets_at_the_ends_have_a_finite_loss() -> None:
    kinds: tuple[Literal["uniform", "normal"], ...] = ("uniform", "normal")
    for kind in kinds:
        losses = smoothed_loss(two_bins(0.4), torch.tensor([0.0, 1.0]), smooth_coeff=0.01, smooth_type=kind)
        torch.testing.assert_close(losses.double(), -torch.from_numpy(log_densities(0.4)), atol=1e-6, rtol=0)


def test_the_baselines_of_fixed_bins_are_not_smoothed() -> None:
    bins = FixedBins(torch.tensor([0.0, 0.4, 1.0]), torch.tensor([0.8, 0.2]).log())
    target = torch.tensor(0.401)
    torch.testing.assert_close(FixedBinsHead(uniform_edges(D, 2), E).loss(bins, target), -bins.log_prob(target))


# -- mixture of logistic distributions ----------------------------------------------------------------------


def mixture(outputs: Tensor | None = None) -> Any:
    head = LogisticMixtureHead(D, E, 5)
    return head.to_distribution(torch.zeros(3, 15) if outputs is None else outputs, 0)


def test_a_mixtures_quantiles_and_mean_lie_where_the_tokens_are() -> None:
    far = torch.zeros(3, 15)
    far[0, 5:10], far[1, 5:10] = 40.0, -40.0
    levels = torch.tensor([0.0, 0.5, 1.0])[:, None].expand(-1, 3)
    for values in (mixture(far).icdf(levels), mixture(far).mean):
        assert ((values >= 0.0) & (values <= 1.0)).all()
    assert mixture(far).mean[:2].tolist() == [1.0, 0.0]


def test_an_untrained_mixtures_components_are_spread_over_the_tokens_range() -> None:
    torch.testing.assert_close(mixture().locs[0], torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]))


def test_a_mixtures_density_is_bounded() -> None:
    narrow = torch.zeros(3, 15)
    narrow[:, 10:] = -1000.0
    assert mixture(narrow).log_prob(torch.full((3,), 0.5)).isfinite().all()
    assert (mixture(narrow).scales >= 9e-4).all()


def test_a_mixtures_loss_is_its_negative_log_density() -> None:
    head, targets = LogisticMixtureConfig(n_components=5).make(D, E)[1], torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(head.loss(mixture(), targets), -mixture().log_prob(targets))


# -- embeddings of the scalar heads --------------------------------------------------------------------------


def test_a_one_hot_embedding_has_a_vector_for_each_of_as_many_bins_as_outputs() -> None:
    config, n_outputs = AdaCatConfig(n_bins=5, embedding="one_hot", standardize=True), 10
    embedding, head = config.make(D, E)
    assert isinstance(embedding, TokenEmbedding)
    assert torch.equal(embedding.edges, uniform_edges(D, n_outputs))
    assert head.weight.shape == (D, E, n_outputs)
    config.fit(embedding, head, torch.rand(9, D))
    assert config.without_effect()["standardize"] == "--embedding one_hot"
    torch.nn.init.normal_(embedding.weight)
    first, same_bin, next_bin = embedding(torch.tensor([[0.51], [0.59], [0.61]]), torch.tensor([2])).unbind()
    assert torch.equal(first, same_bin)
    assert not torch.equal(first, next_bin)


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


def test_mu_law_bins_are_even_on_the_mu_law_scale() -> None:
    edges = mu_law_edges(2, 10, 255.0).double()
    assert edges.shape == (2, 11)
    values = 2 * edges[0] - 1
    scaled = values.sign() * (255 * values.abs()).log1p() / math.log(256)
    torch.testing.assert_close(scaled, torch.linspace(-1, 1, 11, dtype=torch.float64), rtol=0, atol=1e-5)
    embedding, head = MuLawConfig(N=10).make(2, E)
    assert torch.equal(embedding.edges, head.edges)
    with pytest.raises(InputError, match="mu must be"):
        MuLawConfig(mu=0.0)


def test_the_mass_of_a_normal_distribution_agrees_with_scipy() -> None:
    loc, scale = torch.tensor([0.2, 0.5, 0.5]), torch.tensor([0.1, 0.001, 1e-5])
    low, high = torch.tensor([0.25, 0.504, -torch.inf]).double(), torch.tensor([0.3, 0.505, 0.5]).double()
    found = UnitNormal(loc, scale).interval_log_prob(low, high).double()
    ends = [((end - loc.double()) / scale.double()).numpy() for end in (low, high)]
    expected = np.log(norm.sf(ends[0]) - norm.sf(ends[1]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_the_mass_of_a_far_interval_is_finite_with_a_finite_gradient() -> None:
    loc = torch.tensor(0.1, requires_grad=True)
    log_mass = UnitNormal(loc, torch.tensor(1e-4)).interval_log_prob(torch.tensor(0.9), torch.tensor(0.91))
    log_mass.backward()
    assert log_mass.isfinite()
    assert loc.grad is not None
    assert loc.grad.isfinite()
    assert loc.grad > 0  # the mass grows as the centre comes nearer


@pytest.mark.parametrize("ends", [(-math.inf, 0.3), (0.3, math.inf), (-math.inf, math.inf)])
def test_the_mass_of_an_infinite_interval_has_a_finite_gradient(ends: tuple[float, float]) -> None:
    parameters = [torch.tensor(value, requires_grad=True) for value in (0.4, 0.1)]
    mass = UnitNormal(*parameters).interval_log_prob(*map(torch.tensor, ends)).exp()
    mass.backward()
    assert float(mass.detach()) == pytest.approx(norm(0.4, 0.1).cdf(ends[1]) - norm(0.4, 0.1).cdf(ends[0]), abs=1e-6)
    assert all(parameter.grad is not None and parameter.grad.isfinite() for parameter in parameters)


def test_samples_of_a_normal_distribution_are_clamped() -> None:
    _, head = GaussianConfig().make(1, E)
    torch.nn.init.zeros_(head.weight)
    torch.manual_seed(0)
    distribution = head.distribution_of(torch.zeros(5000, E), 0)
    assert distribution.sample().std() == pytest.approx(0.1, abs=0.01)
    wide = UnitNormal(torch.zeros(100), torch.ones(100)).sample()
    assert ((wide >= 0) & (wide <= 1)).all()
