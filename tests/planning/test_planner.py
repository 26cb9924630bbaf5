"""The planner's public interface, on an environment that the package does not know."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from trajectory_adacat.checkpoint import save_checkpoint
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning import planner as planner_module
from trajectory_adacat.planning.beam_search import Plan, beam_search
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig

from .conftest import random_model, some_normalizer

SEARCH = BeamSearchConfig(0.99, horizon=3, beam_width=4, n_expand=2)
WINDOW = WindowConfig("cropped", 3)


def planner(model: GPT, **changes: object) -> Planner:
    config = PlannerConfig(**{"search": SEARCH, "window": WINDOW, **changes})
    return Planner(model, some_normalizer(model.spec.dimension), config)


def observations(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 0.0, (n, 3))


def play(agent: Planner, n_steps: int, rows: list[int]) -> list[np.ndarray]:
    """Actions of some of the planner's environments against fixed observations and rewards."""
    actions = []
    for step in range(n_steps):
        actions.append(agent.act(observations(4, step)[rows], list(range(len(rows)))))
        agent.observe(np.arange(4)[rows] / 4.0, environments=list(range(len(rows))))
    return actions


class Mass(gymnasium.Env):
    """A mass on a line, pushed by two engines."""

    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (3,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.5, 0.5, 3)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action.shape == (2,)
        self.state[:2] += 0.1 * action
        return self.state.copy(), -float(np.square(self.state).sum()), False, False, {}


def test_acts_in_an_unknown_environment_from_a_checkpoint_alone(model: GPT, tmp_path: Path) -> None:
    model = model.float()
    normalizer = some_normalizer(model.spec.dimension)
    description = {"discount": 0.99, "dataset": {"name": "mass"}, "step": 1}
    save_checkpoint(tmp_path / "step_00000001", model, model, normalizer, {"rng": torch.get_rng_state()}, description)
    agent = Planner.from_checkpoint(tmp_path, PlannerConfig(SEARCH, WINDOW, use_ema=True))
    environment = Mass()
    observation, _ = environment.reset(seed=3)
    agent.reset(3)
    for _ in range(5):
        action = agent.act(observation[None])
        assert action.shape == (1, 2)
        observation, reward, *_ = environment.step(action[0])
        agent.observe([reward])


def test_actions_lie_within_the_data_and_follow_the_seed(model: GPT) -> None:
    agent, bounds = planner(model), some_normalizer(model.spec.dimension)
    runs = []
    for seeds in ([5, 6], [5, 6], [7, 8]):
        agent.reset(seeds)
        runs.append(np.stack(play(agent, 3, [0, 1])))
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    low, high = bounds.low[model.spec.action].numpy(), bounds.high[model.spec.action].numpy()
    assert (runs[0] >= low).all()
    assert (runs[0] <= high).all()


def test_environments_side_by_side_do_not_disturb_each_other(model: GPT) -> None:
    agent = planner(model)
    agent.reset([1, 2, 3])
    together = play(agent, 4, [0, 1, 2])
    for i, seed in enumerate([1, 2, 3]):
        agent.reset([seed])
        alone = play(agent, 4, [i])
        np.testing.assert_allclose([actions[i] for actions in together], [actions[0] for actions in alone])


def test_finished_environments_are_left_out_and_the_others_go_on(model: GPT) -> None:
    agent = planner(model)
    agent.reset([1, 2])
    all_along = play(agent, 4, [0, 1])
    agent.reset([1, 2])
    play(agent, 2, [0, 1])
    for step in (2, 3):
        action = agent.act(observations(4, step)[[1]], [1])
        np.testing.assert_allclose(action[0], all_along[step][1])
        agent.observe([0.25], environments=[1])


def test_environments_with_pasts_of_different_length(model: GPT) -> None:
    agent = planner(model)
    agent.reset([1, 2])
    for step in range(2):
        agent.act(observations(4, step)[[0]], [0])
        agent.observe([0.0], environments=[0])
    both = agent.act(observations(4, 2)[[0, 1]])
    agent.reset([2])
    np.testing.assert_allclose(both[1], agent.act(observations(4, 2)[[1]])[0])


def test_the_past_matters_only_with_prefix_context(model: GPT) -> None:
    def second_action(reward: float, **changes: object) -> np.ndarray:
        agent = planner(model, **changes)
        agent.reset(0)
        agent.act(observations(1))
        agent.observe([reward])
        return agent.act(observations(1, 1))

    assert not np.array_equal(second_action(0.0), second_action(1.0))
    assert np.array_equal(second_action(0.0, prefix_context=False), second_action(1.0, prefix_context=False))


def test_the_real_past_is_bounded(model: GPT) -> None:
    """With a context of 3 transitions only the two last whole ones are seen."""

    def last_action(first_reward: float) -> np.ndarray:
        agent = planner(model)
        agent.reset(0)
        for step in range(4):
            action = agent.act(observations(1, step))
            agent.observe([first_reward if step == 0 else 0.5], actions=np.zeros((1, 2)))
        return agent.act(observations(1, 9)) if step == 3 else action

    assert np.array_equal(last_action(0.0), last_action(1.0))


def test_plan_freq_follows_a_plan_open_loop(model: GPT) -> None:
    """Between two plans the observations do not matter."""

    def actions(seed: int) -> list[np.ndarray]:
        agent = planner(model, plan_freq=2)
        agent.reset(0)
        given = []
        for step in range(3):
            given.append(agent.act(observations(1, 0 if step == 0 else seed + step)))
            agent.observe([0.0])
        return given

    one, other = actions(10), actions(20)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert not np.array_equal(one[2], other[2])


def test_values_outside_the_data_are_clamped_and_counted(model: GPT) -> None:
    agent = planner(model)
    agent.reset(0)
    agent.act(np.full((1, 3), 100.0))
    assert agent.n_clamped == 3


@pytest.mark.parametrize("bad", [np.full((1, 3), np.nan), np.zeros((1, 4)), np.zeros((2, 3))])
def test_bad_observations_are_refused(model: GPT, bad: np.ndarray) -> None:
    agent = planner(model)
    agent.reset(0)
    with pytest.raises(InputError, match="Expected finite values"):
        agent.act(bad)


def test_calls_out_of_order_are_refused(model: GPT) -> None:
    agent = planner(model)
    with pytest.raises(RuntimeError, match="reset"):
        agent.act(observations(1))
    agent.reset(0)
    with pytest.raises(RuntimeError, match="act"):
        agent.observe([0.0])


def test_more_environments_than_fit_one_search_are_planned_for_in_turns(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = planner(model)
    agent.reset([1, 2, 3, 4])
    together = play(agent, 3, [0, 1, 2, 3])
    monkeypatch.setattr(planner_module, "MAX_BEAMS", 3 * SEARCH.beam_width)
    searched = []

    def search(decoder: CachedDecoder, *arguments: Any) -> Plan:
        searched.append(len(arguments[3]))
        return beam_search(decoder, *arguments)

    monkeypatch.setattr(planner_module, "beam_search", search)
    agent.reset([1, 2, 3, 4])
    np.testing.assert_allclose(together, play(agent, 3, [0, 1, 2, 3]))
    assert searched == [3, 1] * 3


def test_what_the_model_cannot_hold_is_refused(model: GPT) -> None:
    with pytest.raises(InputError, match="max_context_transitions 9"):
        planner(model, window=WindowConfig("cropped", 9))
    with pytest.raises(InputError, match="max_context_transitions must be at least 2"):
        PlannerConfig(SEARCH, WindowConfig("cropped", 1))
    with pytest.raises(InputError, match="single transitions"):
        planner(random_model(n_transitions=1), window=WindowConfig("full", 1))
    with pytest.raises(InputError, match="plan_freq"):
        PlannerConfig(SEARCH, plan_freq=4)


def test_bfloat16_is_near_float32_and_keeps_what_matters_exact() -> None:
    model, reduced = random_model().float(), random_model().float()
    context, reduced = torch.rand(4, 3 * model.spec.dimension + 3), reduced.reduce_precision()
    with torch.inference_mode():
        exact, near = model.hidden(context), reduced.hidden(context)
    assert not torch.equal(exact, near)
    assert (exact - near).abs().max() < 0.1 * exact.abs().max()
    assert near.dtype == torch.float32
    assert {p.dtype for p in reduced.head.parameters()} == {torch.float32}


def test_plans_in_bfloat16(model: GPT) -> None:
    agent = planner(model.float(), precision="bfloat16")
    agent.reset([0, 1])
    actions = play(agent, 3, [0, 1])
    assert np.isfinite(actions).all()
    with pytest.raises(InputError, match="precision"):
        PlannerConfig(SEARCH, precision="float8")  # type: ignore[arg-type]


def test_transposed_observations_are_refused_and_numpy_seeds_taken(model: GPT) -> None:
    agent = planner(model)
    agent.reset([0, 1])
    with pytest.raises(InputError, match="Expected finite values"):
        agent.act(observations(2).T)
    agent.reset(np.int64(3))
    assert agent.n_environments == 1


def test_scores_are_those_of_the_last_plans_and_none_between_plans(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def search(*arguments: Any) -> Plan:
        plan = beam_search(*arguments)
        made.extend(plan.scores.tolist())
        return plan

    monkeypatch.setattr(planner_module, "beam_search", search)
    agent = planner(model, plan_freq=2)
    agent.reset([0, 1])
    assert agent.scores == [None, None]
    play(agent, 1, [0, 1])
    assert agent.scores == made
    agent.act(observations(2, 1))
    assert agent.scores == [None, None]
