"""Beam search against brute force on a toy, and against a plain search of one row at a time on a model."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.distributions import FixedBins
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.beam_search import beam_search, uniforms_shape
from trajectory_adacat.planning.candidates import draw, expected, keep_likely, keep_parent_rows
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.scoring import ValueTokens
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.transition import TransitionSpec

from .conftest import random_model, some_normalizer

TOY = TransitionSpec(1, 1)
N_ACTIONS = 3
UNIT = MinMaxNormalizer(torch.zeros(TOY.dimension), torch.ones(TOY.dimension))


def point(values: Tensor) -> FixedBins:
    """All mass very near each value."""
    low = (values - 1e-9).clamp(0.0, 1.0 - 1e-8)
    edges = torch.stack([torch.zeros_like(low), low, low + 1e-8, torch.ones_like(low)], -1)
    return FixedBins(edges, torch.tensor([-torch.inf, 0.0, -torch.inf], dtype=values.dtype).expand(*low.shape, 3))


class ToyDecoder:
    """A tree: the reward depends on all actions so far, the value is the best return that remains.

    Args:
        rewards: for each tuple of actions so far, the reward of the last.
        depth: after this many actions nothing more is earned.
    """

    def __init__(self, rewards: dict[tuple[int, ...], float], depth: int, discount: float, n_environments: int) -> None:
        self.rewards, self.depth, self.discount = rewards, depth, discount
        self.tokens = torch.zeros(n_environments, 1, 0, dtype=torch.float64)

    def best_return(self, actions: tuple[int, ...]) -> float:
        if len(actions) == self.depth:
            return 0.0
        return max(
            self.rewards[(*actions, a)] + self.discount * self.best_return((*actions, a)) for a in range(N_ACTIONS)
        )

    def next_distribution(self, dimension: int) -> FixedBins:
        if dimension == TOY.action.start:
            return FixedBins(torch.linspace(0, 1, N_ACTIONS + 1), torch.zeros(*self.tokens.shape[:2], N_ACTIONS))
        look_up = {TOY.reward: self.rewards.__getitem__, TOY.value: self.best_return}.get(dimension, lambda _: 0.5)
        values = [[look_up(self.actions(row)) for row in rows] for rows in self.tokens]
        return point(torch.tensor(values, dtype=torch.float64))

    def actions(self, row: Tensor) -> tuple[int, ...]:
        return tuple((row[:: TOY.dimension] * N_ACTIONS).long().tolist())

    def append(self, tokens: Tensor) -> None:
        self.tokens = torch.cat([self.tokens, tokens.double().unsqueeze(-1)], -1)

    def expand(self, n: int) -> None:
        self.tokens = self.tokens.repeat_interleave(n, 1)

    def select(self, candidates: Tensor) -> None:
        self.tokens = self.tokens.take_along_dim(candidates.unsqueeze(-1), 1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 4))
def test_finds_what_brute_force_finds_when_values_are_exact(seed: int, depth: int, beam_width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sequences = [s for n in range(1, depth + 1) for s in itertools.product(range(N_ACTIONS), repeat=n)]
    rewards = dict(zip(sequences, (torch.rand(len(sequences), generator=generator) / depth).tolist(), strict=True))
    config = BeamSearchConfig(0.9, horizon=depth, beam_width=beam_width, n_expand=N_ACTIONS, sampling="midpoint")
    uniforms = torch.zeros(2, *uniforms_shape(TOY, config))
    uniforms[:] = (torch.arange(beam_width * N_ACTIONS) % N_ACTIONS + 0.5) / N_ACTIONS  # every action of every beam
    plan = beam_search(ToyDecoder(rewards, depth, 0.9, 2), TOY, config, UNIT, uniforms, ValueTokens())

    def total(actions: tuple[int, ...]) -> float:
        return sum(0.9**i * rewards[actions[: i + 1]] for i in range(depth))

    best = max(itertools.product(range(N_ACTIONS), repeat=depth), key=total)
    assert [tuple(row) for row in (plan.actions[:, :, 0] * N_ACTIONS).long().tolist()] == [best, best]
    torch.testing.assert_close(plan.scores, torch.full((2,), total(best), dtype=torch.float64), atol=1e-6, rtol=0)


def plain_search(
    model: GPT, context: Tensor, config: BeamSearchConfig, normalizer: MinMaxNormalizer, uniforms: Tensor
) -> tuple[Tensor, float]:
    """The search of one environment, one row at a time, from its definition; the window must hold everything."""
    spec = model.spec

    def grow(row: Tensor, u: Tensor, dimension: int, k: int | None, drop: float) -> tuple[Tensor, float]:
        hidden = model.hidden(row[None])[0, -1]
        distribution = model.head.distribution_of(hidden, dimension)
        token = draw(keep_likely(distribution, k, 0.0, drop), u, config.sampling)
        return torch.cat([row, token[None]]), float(normalizer.denormalize(distribution.mean, dimension))

    beams = [(context, 0.0)] * config.beam_width
    for step in range(config.horizon):
        candidates = []
        for c in range(config.beam_width * config.n_expand):
            row, earned = beams[c // config.n_expand]
            for d in range(spec.action.start, spec.action.stop):
                row, _ = grow(row, uniforms[step, d, c], d, config.k_act, config.drop_act)
            row, reward = grow(row, uniforms[step, spec.reward, c], spec.reward, config.k_rew, 0.0)
            row, value = grow(row, uniforms[step, spec.value, c], spec.value, config.k_rew, 0.0)
            earned += config.discount**step * reward
            candidates.append((row, earned, earned + config.discount ** (step + 1) * value))
        order = sorted(range(len(candidates)), key=lambda c: -candidates[c][2])[: config.beam_width]
        chosen = order if step == 0 else keep_parent_rows(torch.tensor([order]), config.n_expand)[0].tolist()
        scores = [candidates[c][2] for c in chosen]
        beams = [candidates[c][:2] for c in chosen]
        if step + 1 < config.horizon:
            for d in range(spec.observation_size):
                beams = [
                    (grow(row, uniforms[step, d, b], d, config.k_obs, config.drop_obs)[0], earned)
                    for b, (row, earned) in enumerate(beams)
                ]
    best = max(range(len(scores)), key=scores.__getitem__)
    return beams[best][0][len(context) :], scores[best]


@pytest.mark.parametrize("changes", [{}, {"k_obs": None, "drop_act": 0.5, "sampling": "midpoint"}, {"k_act": 2}])
def test_batched_search_is_the_plain_search_of_each_environment(changes: dict) -> None:
    model = random_model(n_transitions=6)
    spec, normalizer = model.spec, some_normalizer(model.spec.dimension)
    config = BeamSearchConfig(0.95, horizon=3, beam_width=4, n_expand=2, **changes)
    context = torch.rand(3, spec.dimension + spec.observation_size, dtype=torch.float64)
    uniforms = torch.rand(3, *uniforms_shape(spec, config), dtype=torch.float64)
    with torch.inference_mode():
        decoder = CachedDecoder(model, context, WindowConfig("full", 6))
        plan = beam_search(decoder, spec, config, normalizer, uniforms, ValueTokens())
        for g in range(3):
            tokens, score = plain_search(model, context[g], config, normalizer, uniforms[g])
            first = tokens[: spec.action_size]
            torch.testing.assert_close(plan.actions[g, 0], first)
            torch.testing.assert_close(plan.observations[g, 0], tokens[spec.action_size + 2 :][: spec.observation_size])
            torch.testing.assert_close(float(plan.scores[g]), score)


@pytest.mark.parametrize("window", [WindowConfig("cropped", 2), WindowConfig("full", 3)], ids=str)
def test_cached_and_naive_searches_agree(window: WindowConfig) -> None:
    model = random_model()
    normalizer = some_normalizer(model.spec.dimension)
    config = BeamSearchConfig(0.99, horizon=6, beam_width=5, n_expand=3, drop_act=0.3)
    context = torch.rand(2, model.spec.observation_size, dtype=torch.float64)
    uniforms = torch.rand(2, *uniforms_shape(model.spec, config), dtype=torch.float64)
    with torch.inference_mode():
        plans = [
            beam_search(decoder(model, context, window), model.spec, config, normalizer, uniforms, ValueTokens())
            for decoder in (CachedDecoder, NaiveDecoder)
        ]
    torch.testing.assert_close(plans[0].actions, plans[1].actions)
    torch.testing.assert_close(plans[0].observations, plans[1].observations)
    torch.testing.assert_close(plans[0].scores, plans[1].scores)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None)
def test_children_keep_their_parents_places(seed: int, n_rows: int, n_expand: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(n_rows * n_expand, generator=generator)[:n_rows] for _ in range(3)])
    kept = keep_parent_rows(chosen, n_expand)
    assert kept.sort(-1).values.tolist() == chosen.sort(-1).values.tolist()
    for before, after in zip(chosen.tolist(), kept.tolist(), strict=True):
        for parent in {candidate // n_expand for candidate in before}:
            assert after[parent] // n_expand == parent


def test_cutoffs_rank_by_mass() -> None:
    distribution = FixedBins(torch.linspace(0, 1, 6), torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log())

    def left(k: int | None, cdf: float, drop: float) -> list[int]:
        return keep_likely(distribution, k, cdf, drop).masses.nonzero().squeeze(1).tolist()

    assert left(None, 0.0, 0.0) == [0, 1, 2, 3, 4]
    assert left(1, 0.0, 0.0) == [1]
    assert left(None, 0.35, 0.0) == [1, 3]  # the fewest bins with a mass of 0.65
    assert left(None, 0.0, 0.6) == [1, 3]  # 60 % of the bins fall away
    assert left(None, 0.0, 0.2) == [0, 1, 3, 4]


def test_percentile_and_sampling_forms() -> None:
    distribution = FixedBins(torch.linspace(0, 1, 3), torch.tensor([[0.25, 0.75]]).log())
    assert float(expected(distribution, "mean")) == pytest.approx(0.25 * 0.25 + 0.75 * 0.75)
    assert float(expected(distribution, 25.0)) == pytest.approx(0.5)
    uniform = torch.tensor([0.5])
    assert float(draw(distribution, uniform, "midpoint")) == pytest.approx(0.75)
    assert float(draw(distribution, uniform, "uniform")) == pytest.approx(0.5 + 0.5 / 3)
    assert float(draw(distribution, uniform, "mean")) == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("horizon", 0),
        ("beam_width", -1),
        ("n_expand", 0),
        ("k_obs", 0),
        ("cdf_act", 1.0),
        ("drop_act", -0.1),
        ("discount", 0.0),
        ("sampling", "greedy"),
        ("percentile", 101.0),
    ],
)
def test_bad_settings_are_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        BeamSearchConfig(**{"discount": 0.99, field: value})


@pytest.mark.parametrize("value", [0.8, 0.01, 0.999])
def test_a_fraction_is_not_taken_for_a_percentile(value: float) -> None:
    """Trajectory Transformer's 0.8 is 80 here; 0 and 1 are percentiles."""
    with pytest.raises(InputError, match=f"is a fraction.*write {100 * value:g}"):
        BeamSearchConfig(0.99, percentile=value)
    for percentile in (0.0, 1.0, 100 * value):
        assert BeamSearchConfig(0.99, percentile=percentile).percentile == percentile
