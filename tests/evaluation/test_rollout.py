"""Episodes side by side, with a stub in place of the planner."""

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.planned import Discounting
from trajectory_adacat.evaluation.rollout import EpisodeResult, check_fit, run_episodes
from trajectory_adacat.planning.planner import Planner


class Countdown(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observe the seed and the step, reward 10 times the seed plus the step, and end after some steps."""

    def __init__(self, length: int, ends: str = "terminated") -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = gymnasium.spaces.Box(-1.0, 0.5, (1,), np.float32)
        self._length, self._ends = length, ends
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._seed, self._step = seed or 0, 0
        return np.array([self._seed, 0]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self._step < self._length, "step after the end of the episode"
        self.actions.append(action)
        self._step += 1
        ended = self._step == self._length
        reward = 10.0 * self._seed + self._step
        terminated, truncated = ended and "terminated" in self._ends, ended and "truncated" in self._ends
        return np.array([self._seed, self._step]), reward, terminated, truncated, {}


class Recorder:
    """Act by the observed seed and step, and record all calls."""

    spec = SimpleNamespace(observation_size=2, action_size=1)

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.seen: list[tuple[list[int], np.ndarray]] = []
        self.rewards: list[tuple[list[int], list[float]]] = []

    def reset(self, seeds: Sequence[int]) -> None:
        self.seeds = list(seeds)
        self.scores: list[float | None] = [None] * len(seeds)

    def act(self, observations: np.ndarray, environments: Sequence[int]) -> np.ndarray:
        self.seen.append((list(environments), observations))
        for i, (_, step) in zip(environments, observations, strict=True):
            self.scores[i] = 100.0 + step if step % 2 == 0 else None  # plans at every other step
        return observations[:, :1] + observations[:, 1:] / 10

    def observe(self, rewards: Sequence[float], environments: Sequence[int]) -> None:
        self.rewards.append((list(environments), list(rewards)))


def run(
    recorder: Recorder, environments: Sequence[Countdown], seeds: Sequence[int], **options: Any
) -> list[EpisodeResult]:
    return run_episodes(cast(Planner, recorder), environments, seeds, **options)


def test_each_episode_has_a_separate_return_and_length() -> None:
    results = run(Recorder(), [Countdown(2), Countdown(4), Countdown(1)], [3, 5, 7])
    assert [(r.seed, r.return_, r.length) for r in results] == [(3, 63.0, 2), (5, 210.0, 4), (7, 71.0, 1)]
    assert all(result.terminated and not result.truncated for result in results)


def test_compares_each_plan_with_the_discounted_return_that_followed() -> None:
    (result,) = run(
        Recorder(), [Countdown(3)], [0], discounting=Discounting(0.5, None)
    )  # rewards 1, 2, 3, plans at steps 0 and 2
    assert result.planned == (101.0, (1 + 2 / 2 + 3 / 4 + 3) / 2)


def test_the_realized_return_has_the_termination_penalty() -> None:
    (result,) = run(Recorder(), [Countdown(3)], [0], discounting=Discounting(0.5, -8.0))
    assert result.planned == (101.0, (1 + 2 / 2 - 8 / 4 - 8) / 2)


def test_plans_shortly_before_a_cut_are_not_compared() -> None:
    short, long = run(
        Recorder(), [Countdown(4, "truncated"), Countdown(5, "truncated")], [0, 0], discounting=Discounting(0.5, 9.0)
    )
    assert short.planned is None
    assert long.planned == (100.0, 1 + 2 / 2 + 3 / 4 + 4 / 8 + 5 / 16)  # 0.5 ** 5 < 0.05; the penalty is for terminals


def test_ended_episodes_are_left_out_of_planning() -> None:
    recorder = Recorder()
    run(recorder, [Countdown(2), Countdown(3), Countdown(1)], [3, 5, 7])
    assert recorder.seeds == [3, 5, 7]
    assert [environments for environments, _ in recorder.seen] == [[0, 1, 2], [0, 1], [1]]
    np.testing.assert_array_equal(recorder.seen[1][1], [[3, 1], [5, 1]])
    assert recorder.rewards == [([0, 1, 2], [31, 51, 71]), ([0, 1], [32, 52]), ([1], [53])]


@pytest.mark.parametrize(
    ("ends", "terminated", "truncated"),
    [("terminated", True, False), ("truncated", False, True), ("terminated, truncated", True, False)],
)
def test_termination_takes_precedence_over_truncation(ends: str, terminated: bool, truncated: bool) -> None:
    (result,) = run(Recorder(), [Countdown(3, ends)], [1])
    assert (result.length, result.terminated, result.truncated) == (3, terminated, truncated)


@pytest.mark.parametrize(("max_length", "length", "truncated"), [(2, 2, True), (3, 3, False), (4, 3, False)])
def test_episodes_are_cut_at_the_maximum_length(max_length: int, length: int, truncated: bool) -> None:
    (result,) = run(Recorder(), [Countdown(3)], [1], max_length=max_length)
    assert (result.length, result.truncated, result.terminated) == (length, truncated, not truncated)


def test_actions_are_clipped_and_cast_to_the_action_space() -> None:
    environments = [Countdown(2), Countdown(2)]
    run(Recorder(), environments, [0, -3])
    np.testing.assert_allclose(np.ravel(environments[0].actions), [0.0, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(np.ravel(environments[1].actions), [-1.0, -1.0])
    assert {action.dtype for env in environments for action in env.actions} == {np.dtype(np.float32)}


def test_the_callback_is_called_after_each_step() -> None:
    lengths: list[list[int]] = []
    run(Recorder(), [Countdown(1), Countdown(3)], [0, 0], on_step=lambda rs: lengths.append([r.length for r in rs]))
    assert lengths == [[1, 1], [1, 2], [1, 3]]


def test_planning_time_is_counted_for_each_action() -> None:
    for result in run(Recorder(), [Countdown(2), Countdown(4)], [0, 0]):
        assert result.seconds_per_action == result.seconds / result.length > 0


def test_equal_sizes_are_accepted_and_others_are_refused() -> None:
    planner = cast(Planner, Recorder())
    check_fit(planner, Countdown(1))
    other = Countdown(1)
    other.observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    with pytest.raises(InputError, match=r"observations have 2 dimensions.*\(3,\)"):
        check_fit(planner, other)
    other = Countdown(1)
    other.action_space = cast(gymnasium.spaces.Box, gymnasium.spaces.Discrete(2))
    with pytest.raises(InputError, match=r"actions have 1 dimensions.*\(\)"):
        check_fit(planner, other)


class Answering(Countdown):
    """Replace parts of the answer of one step, or of the reset (step 0)."""

    def __init__(self, step: int, **parts: Any) -> None:
        super().__init__(4)
        self._faulty, self._parts = step, parts

    def _replace(self, name: str, value: Any) -> Any:
        replaced = self._parts.get(name, value) if self._step == self._faulty else value
        if isinstance(replaced, Exception):
            raise replaced
        return replaced

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        observation, info = super().reset(seed=seed)
        return self._replace("observation", observation), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        names = ("observation", "reward", "terminated", "truncated", "info")
        answer = zip(names, super().step(action), strict=True)
        return self._replace("answer", tuple(self._replace(*part) for part in answer))


@pytest.mark.parametrize(
    ("terminated", "truncated", "ends"),
    [
        (np.bool_(True), np.bool_(False), True),
        (1, 0, True),
        (np.array([True]), False, True),
        (np.bool_(False), np.bool_(True), False),
        (0, 1, False),
    ],
)
def test_flags_of_other_types_are_converted(terminated: Any, truncated: Any, ends: bool) -> None:
    (result,) = run(Recorder(), [Answering(2, terminated=terminated, truncated=truncated)], [3])
    assert (result.terminated, result.truncated) == (ends, not ends)
    assert (type(result.terminated), type(result.truncated)) == (bool, bool)
    assert (result.length, result.error) == (2, None)


@pytest.mark.parametrize("reward", [np.array([5.0]), np.array([[5]]), np.float32(5), 5])
def test_a_reward_may_be_an_array_of_one_number(reward: Any) -> None:
    recorder = Recorder()
    (result,) = run(recorder, [Answering(2, reward=reward)], [0])
    assert result.return_ == 1 + 5 + 3 + 4
    assert recorder.rewards[1] == ([0], [5.0])
    assert result.error is None


@pytest.mark.parametrize(
    ("step", "parts", "message"),
    [
        (2, {"observation": np.array([3.0, np.nan])}, "the observation's number 1 is not finite"),
        (2, {"observation": np.zeros(3)}, r"the observation has shape \(3,\) instead of \(2,\)"),
        (2, {"observation": "north"}, "ValueError"),
        (2, {"reward": np.nan}, "the reward is nan"),
        (2, {"reward": np.array([1.0, 2.0])}, r"the reward has shape \(2,\)"),
        (2, {"reward": None}, "the reward is None"),
        (2, {"terminated": 2}, "terminated is 2 instead of true or false"),
        (2, {"truncated": None}, "truncated is None"),
        (2, {"answer": (np.zeros(2), 1.0, False, {})}, r"step\(\) returned 4 values"),
        (2, {"info": RuntimeError("the simulator\nhas died")}, "RuntimeError: the simulator has died .*line"),
        (0, {"observation": np.array([np.inf, 0.0])}, "the observation's number 0 is not finite"),
        (0, {"observation": OSError("no port")}, "OSError: no port"),
    ],
    ids=str,
)
def test_a_fault_ends_its_rollout_alone(step: int, parts: dict[str, Any], message: str) -> None:
    recorder = Recorder()
    faulty = Answering(step, **parts)
    results = run(recorder, [Countdown(3), faulty, Countdown(4)], [3, 5, 7])
    alone = [run(Recorder(), [Countdown(length)], [seed])[0] for length, seed in ((3, 3), (4, 7))]
    for result, expected in zip((results[0], results[2]), alone, strict=True):
        assert (result.return_, result.length, result.error) == (expected.return_, expected.length, None)
    failed = results[1]
    assert failed.error is not None
    assert re.search(message, failed.error)
    assert (failed.seed, failed.length, failed.ended) == (5, step, True)
    assert not (failed.terminated or failed.truncated)
    assert all(1 not in environments for environments, _ in recorder.rewards[max(step - 1, 0) :])


def test_all_rollouts_may_fail() -> None:
    calls: list[int] = []
    fault = {"observation": np.full(2, np.nan)}
    for step in (0, 1):
        faulty = [Answering(step, **fault), Answering(step, **fault)]
        results = run(Recorder(), faulty, [3, 5], on_step=lambda rs: calls.append(len(rs)))
        assert all(result.error is not None for result in results)
    assert calls == [2, 2]


def test_the_observation_after_the_end_does_not_matter() -> None:
    (result,) = run(Recorder(), [Answering(4, observation=np.full(2, np.nan))], [3])
    assert (result.length, result.terminated, result.error) == (4, True, None)


def test_an_interruption_is_no_fault() -> None:
    class Interrupted(Countdown):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Recorder(), [Interrupted(3)], [3])
