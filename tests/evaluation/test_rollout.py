"""Episodes side by side, with a stub in place of the planner."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.errors import InputError
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

    def act(self, observations: np.ndarray, environments: Sequence[int]) -> np.ndarray:
        self.seen.append((list(environments), observations))
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
