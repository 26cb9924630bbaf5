"""Scores by value tokens and by a critic, against a plain computation over all candidates."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.beam_search import beam_search, uniforms_shape
from trajectory_adacat.planning.candidates import Candidates, draw, keep_likely
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.scoring import CriticScorer, CriticScoringConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig

from .conftest import random_model, some_normalizer


class Quadratic:
    """Three critics that disagree: ``-|a - c|^2 + i sum(s)`` for i = 0, 1, 2."""

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        weights = torch.arange(3.0, dtype=torch.float64).view(3, *[1] * (actions.dim() - 1))
        return -(actions - 0.1).square().sum(-1) + weights * observations.sum(-1)


def setting(horizon: int) -> tuple[GPT, Tensor, BeamSearchConfig, MinMaxNormalizer, Tensor]:
    torch.manual_seed(3)
    model = random_model(n_transitions=6)
    spec, normalizer = model.spec, some_normalizer(model.spec.dimension)
    config = BeamSearchConfig(0.9, horizon=horizon, beam_width=3, n_expand=2)
    context = torch.rand(2, spec.dimension + spec.observation_size, dtype=torch.float64)
    uniforms = torch.rand(2, *uniforms_shape(spec, config), dtype=torch.float64)
    return model, context, config, normalizer, uniforms


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CriticScoringConfig("min"), lambda q: q.amin(0)),
        (CriticScoringConfig("mean"), lambda q: q.mean(0)),
        (CriticScoringConfig("bound", 0.5), lambda q: q.mean(0) - 0.5 * q.std(0, correction=0)),
    ],
    ids=["min", "mean", "bound"],
)
def test_the_critic_scores_what_was_sampled_in_the_units_of_the_data(
    config: CriticScoringConfig, expected: Callable[[Tensor], Tensor]
) -> None:
    model, context, search, normalizer, uniforms = setting(2)
    spec = model.spec
    with torch.inference_mode():
        candidates = Candidates(
            CachedDecoder(model, context, WindowConfig("full", 6)), spec, search, normalizer, uniforms
        )
        candidates.expand(6)
        candidates.sample_action()
        states = normalizer.denormalize(context[:, -spec.observation_size :], spec.observation)
        actions = normalizer.denormalize(candidates.tokens, spec.action)
        first = Quadratic().q(states[:, None].expand(-1, 6, -1), actions)
        torch.testing.assert_close(CriticScorer(Quadratic(), config).score(candidates), expected(first))
        assert candidates.next_dimension == spec.reward  # a critic needs no reward of the last action

        candidates.select(torch.tensor([[0, 1, 2], [5, 4, 3]]))
        candidates.sample_reward()
        candidates.sample_value()
        candidates.sample_observation()
        imagined = candidates.tokens[..., -spec.observation_size :]
        candidates.expand(2)
        candidates.sample_action()
        states = normalizer.denormalize(imagined.repeat_interleave(2, 1), spec.observation)
        actions = normalizer.denormalize(candidates.tokens[..., -spec.action_size :], spec.action)
        second = candidates.rewards + 0.9 * expected(Quadratic().q(states, actions))
        torch.testing.assert_close(CriticScorer(Quadratic(), config).score(candidates), second)


def plain_search(
    model, context: Tensor, config: BeamSearchConfig, normalizer, uniforms: Tensor
) -> tuple[Tensor, float]:  # type: ignore[no-untyped-def]
    """Two steps of one environment with the critic, one row at a time, from the definition."""
    spec = model.spec

    def grow(row: Tensor, u: Tensor, dimension: int, k: int | None) -> tuple[Tensor, float]:
        distribution = model.head.distribution_of(model.hidden(row[None])[0, -1], dimension)
        token = draw(keep_likely(distribution, k, 0.0, 0.0), u, config.sampling)
        return torch.cat([row, token[None]]), float(normalizer.denormalize(distribution.mean, dimension))

    def act(row: Tensor, step: int, c: int) -> Tensor:
        for d in range(spec.action.start, spec.action.stop):
            row, _ = grow(row, uniforms[step, d, c], d, None)
        return row

    def value(row: Tensor) -> float:
        last = row[-spec.action.stop :]
        state, action = (normalizer.denormalize(last[part], part) for part in (spec.observation, spec.action))
        return float(Quadratic().q(state, action).amin())

    n = config.beam_width * config.n_expand
    first = [act(context, 0, c) for c in range(n)]
    kept = sorted(range(n), key=lambda c: -value(first[c]))[: config.beam_width]
    beams = []
    for b, row in enumerate(first[c] for c in kept):
        row, reward = grow(row, uniforms[0, spec.reward, b], spec.reward, config.k_rew)
        for d in (spec.value, *range(spec.observation_size)):
            row, _ = grow(row, uniforms[0, d, b], d, 1)
        beams.append((row, reward))
    scored = []
    for c in range(n):
        row, rewards = beams[c // config.n_expand]
        row = act(row, 1, c)
        scored.append((rewards + 0.9 * value(row), row))
    score, best = max(scored, key=lambda pair: pair[0])
    return best[len(context) :], score


@pytest.mark.parametrize("decoder", [CachedDecoder, NaiveDecoder])
def test_a_search_by_a_critic_is_the_plain_search(decoder: type) -> None:
    model, context, config, normalizer, uniforms = setting(2)
    spec, scorer = model.spec, CriticScorer(Quadratic(), CriticScoringConfig())
    with torch.inference_mode():
        made = decoder(model, context, WindowConfig("full", 6))
        plan = beam_search(made, spec, config, normalizer, uniforms, scorer)
        for g in range(2):
            tokens, score = plain_search(model, context[g], config, normalizer, uniforms[g])
            torch.testing.assert_close(plan.actions[g, 0], tokens[: spec.action_size])
            torch.testing.assert_close(plan.actions[g, 1], tokens[-spec.action_size :])
            assert float(plan.scores[g]) == pytest.approx(score)


def test_one_step_by_a_critic_takes_its_favourite_action() -> None:
    model, context, config, normalizer, uniforms = setting(1)
    spec, critic = model.spec, Quadratic()
    scorer = CriticScorer(critic, CriticScoringConfig("mean"))
    with torch.inference_mode():
        sampled = Candidates(CachedDecoder(model, context, WindowConfig("full", 6)), spec, config, normalizer, uniforms)
        sampled.expand(6)
        sampled.sample_action()
        values = critic.q(*sampled.states_and_actions()).mean(0)
        decoder = CachedDecoder(model, context, WindowConfig("full", 6))
        plan = beam_search(decoder, spec, config, normalizer, uniforms, scorer)
    torch.testing.assert_close(plan.scores, values.amax(-1))
    torch.testing.assert_close(plan.actions[:, 0], sampled.tokens[torch.arange(2), values.argmax(-1)])


class WatchedDecoder(CachedDecoder):
    """Records the dimensions whose distributions are asked for."""

    def __init__(self, model: GPT, context: Tensor, window: WindowConfig) -> None:
        super().__init__(model, context, window)
        self.dimensions: list[int] = []

    def next_distribution(self, dimension: int) -> object:
        self.dimensions.append(dimension)
        return super().next_distribution(dimension)


@pytest.mark.parametrize("horizon", [1, 2])
def test_after_the_last_action_a_critic_needs_no_token(horizon: int) -> None:
    model, context, config, normalizer, uniforms = setting(horizon)
    spec, scorer = model.spec, CriticScorer(Quadratic(), CriticScoringConfig())
    with torch.inference_mode():
        decoder = WatchedDecoder(model, context, WindowConfig("full", 6))
        beam_search(decoder, spec, config, normalizer, uniforms, scorer)
    action = [*range(spec.action.start, spec.action.stop)]
    between = [spec.reward, spec.value, *range(spec.observation_size)]
    assert decoder.dimensions == (action if horizon == 1 else [*action, *between, *action])


@pytest.mark.parametrize("changes", [{"critic_beta": -1.0}, {"critic_beta": math.inf}, {"critic_aggregate": "max"}])
def test_a_setting_out_of_range_is_refused(changes: dict) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        CriticScoringConfig(**changes)
