"""The cached planner against one that recomputes every sequence for every token, driving a robot."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.exactness import predict_same_tokens, relative_distances
from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.critic.config import CriticForm, NetworkConfig
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.environments import make_environment
from trajectory_adacat.planning.decoding import CachedDecoder, Decoder, WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.scoring import Aggregate, CriticScoringConfig, Scoring, ValueTokensConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig

from .conftest import random_model

N_STEPS = 200
FEWER_STEPS = 140  # until some robots have fallen
N_ENVIRONMENTS = 12
# The window and the horizon of each case: just long enough for the window to slide twice in a plan, or once and keep
# two imagined transitions.
CASES = [(WindowConfig("cropped", 2), 3), (WindowConfig("full", 3), 4), (WindowConfig("cropped", 3), 4)]


def random_planner(
    window: WindowConfig,
    horizon: int,
    positions: str,
    decoder: type[Decoder],
    scoring: Scoring | None = None,
) -> Planner:
    """Plans for Hopper in float64, under random weights; a critic's networks are in float32."""
    model = random_model(observation_size=11, action_size=3, n_transitions=3, n_bins=8, positions=positions)
    search = BeamSearchConfig(0.99, horizon, beam_width=3, n_expand=2, drop_act=0.25)
    normalizer = MinMaxNormalizer(torch.full((16,), -1.0), torch.full((16,), 1.5))
    torch.manual_seed(1)
    form = CriticForm(observation_size=11, action_size=3, networks=NetworkConfig(hidden_size=16, n_critics=3))
    config = PlannerConfig(search, window, scoring or ValueTokensConfig())
    return Planner(model, normalizer, config, decoder, Critic(form).requires_grad_(False))


def acts(cached: Planner, naive: Planner) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both planners' actions, ``[live, 3]``, in robots that follow the first.

    A robot that has fallen is left out; when the last one has, all begin anew.
    """
    robots = [make_environment("hopper-medium-v2") for _ in range(N_ENVIRONMENTS)]
    live: list[int] = []
    seed = 0
    while True:
        if not live:
            seeds = list(range(seed, seed + N_ENVIRONMENTS))
            seed += N_ENVIRONMENTS
            observations = [robot.reset(seed=s)[0] for robot, s in zip(robots, seeds, strict=True)]
            cached.reset(seeds)
            naive.reset(seeds)
            live = list(range(N_ENVIRONMENTS))
        seen = np.stack([observations[i] for i in live])
        actions = cached.act(seen, live), naive.act(seen, live)
        yield actions
        rewards, standing = [], []
        for i, action in zip(live, actions[0], strict=True):
            observations[i], reward, fallen, _, _ = robots[i].step(action.clip(-1.0, 1.0).astype(np.float32))
            rewards.append(float(reward))
            if not fallen:
                standing.append(i)
        cached.observe(rewards, environments=live)
        naive.observe(rewards, environments=live)
        live = standing


@pytest.mark.parametrize(
    ("positions", "window", "horizon", "n_steps"),
    [
        pytest.param("learned", *CASES[0], FEWER_STEPS, id="learned-cropped-fewer"),
        pytest.param("learned", *CASES[0], N_STEPS, id="learned-cropped", marks=pytest.mark.slow),
        pytest.param("learned", *CASES[1], N_STEPS, id="learned-full", marks=pytest.mark.slow),
        pytest.param("learned", *CASES[2], N_STEPS, id="learned-longer", marks=pytest.mark.slow),
        pytest.param("rotary", *CASES[0], N_STEPS, id="rotary-cropped", marks=pytest.mark.slow),
        pytest.param("rotary", *CASES[1], N_STEPS, id="rotary-full", marks=pytest.mark.slow),
        pytest.param("rotary", *CASES[2], N_STEPS, id="rotary-longer", marks=pytest.mark.slow),
    ],
)
def test_actions_in_float64_are_those_of_the_naive_planner(
    window: WindowConfig, horizon: int, positions: str, n_steps: int
) -> None:
    """The actions that reach the robots are the same numbers; before they are rounded to float32, the two differ by
    the rounding of sums in another order alone. A window slides twice in each plan."""
    planners = (random_planner(window, horizon, positions, kind) for kind in (CachedDecoder, NaiveDecoder))
    check_same_actions(*planners, n_steps)


@pytest.mark.parametrize(
    ("horizon", "aggregate", "n_steps"),
    [
        (1, "min", N_STEPS),
        (3, "bound", FEWER_STEPS),
        pytest.param(3, "bound", N_STEPS, marks=pytest.mark.slow),
        pytest.param(3, "mean", N_STEPS, marks=pytest.mark.slow),
    ],
)
def test_actions_by_a_critic_are_those_of_the_naive_planner(horizon: int, aggregate: Aggregate, n_steps: int) -> None:
    settings = WindowConfig("full", 2), horizon, "learned"
    scoring = CriticScoringConfig(aggregate)
    cached, naive = (random_planner(*settings, kind, scoring) for kind in (CachedDecoder, NaiveDecoder))
    check_same_actions(cached, naive, n_steps)
    by_values = random_planner(*settings, CachedDecoder)
    assert any((first != second).any() for (first, second), _ in zip(acts(cached, by_values), range(5), strict=False))


def check_same_actions(cached: Planner, naive: Planner, least: int) -> None:
    """Drive robots with both planners for at least so many steps of all robots together."""
    n_steps = 0
    n_live: set[int] = set()
    for actions, expected in acts(cached, naive):
        np.testing.assert_allclose(actions, expected, rtol=0.0, atol=1e-12)
        np.testing.assert_array_equal(actions.astype(np.float32), expected.astype(np.float32))
        assert len(np.unique(actions)) > 2  # not all at a bound
        n_steps += len(actions)
        n_live.add(len(actions))
        if n_steps >= least and len(n_live) > 2:  # some have gone on after others fell
            break
        assert n_steps < 5 * N_STEPS


@pytest.mark.parametrize("window", [WindowConfig("cropped", 3), WindowConfig("full", 2)], ids=str)
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_logits_in_float32_are_those_of_the_naive_decoder(window: WindowConfig, positions: str) -> None:
    """Led along the same tokens for more than two trained blocks, relative to the largest logit of each token."""
    model = random_model(positions=positions).float()
    context = torch.rand(3, model.spec.dimension + model.spec.observation_size)
    with torch.inference_mode():
        decoders = NaiveDecoder(model, context, window), CachedDecoder(model, context, window)
        for reference, other in predict_same_tokens(
            decoders, model.spec, len(context), 2 * model.config.n_transitions + 1
        ):
            assert relative_distances(reference, other).max() < 1e-5


@pytest.mark.parametrize(
    ("search", "prefix_context"),
    [
        (BeamSearchConfig(0.99, horizon=5, beam_width=1, n_expand=3), True),
        (BeamSearchConfig(0.99, horizon=5, beam_width=3, n_expand=1), True),
        (BeamSearchConfig(0.99, horizon=5, beam_width=4, n_expand=2), False),
    ],
    ids=["one beam", "one candidate", "no past"],
)
@pytest.mark.parametrize("window", [WindowConfig("cropped", 3), WindowConfig("full", 1)], ids=str)
def test_searches_at_the_edges_are_those_of_the_naive_planner(
    search: BeamSearchConfig, prefix_context: bool, window: WindowConfig
) -> None:
    """With horizons longer than the trained block."""
    config = PlannerConfig(search, window, prefix_context=prefix_context)
    model, normalizer = random_model(), MinMaxNormalizer(torch.full((7,), -1.0), torch.full((7,), 1.5))
    cached, naive = (Planner(model, normalizer, config, kind) for kind in (CachedDecoder, NaiveDecoder))
    generator = np.random.default_rng(0)
    cached.reset(0)
    naive.reset(0)
    for _ in range(4):
        observation = generator.uniform(-1.0, 1.0, (1, 3))
        np.testing.assert_allclose(cached.act(observation), naive.act(observation), rtol=0.0, atol=1e-12)
        for planner in (cached, naive):
            planner.observe([0.5])
