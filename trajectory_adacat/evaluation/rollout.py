"""Episodes driven by a planner, several side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.planner import Planner


@dataclass
class EpisodeResult:
    """What came of an episode.

    Attributes:
        seed: of the environment's reset and of the planner's random numbers.
        return_: undiscounted sum of the rewards.
        length: environment steps.
        terminated: whether the environment came to a real end.
        truncated: whether it was cut.
        seconds: wall-clock time spent planning, shared evenly among episodes that were planned together.
    """

    seed: int
    return_: float = 0.0
    length: int = 0
    terminated: bool = False
    truncated: bool = False
    seconds: float = field(default=0.0)

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated

    @property
    def seconds_per_action(self) -> float:
        """Wall-clock seconds for each planned action."""
        return self.seconds / max(self.length, 1)


OnStep = Callable[[Sequence[EpisodeResult]], None]


def check_fit(planner: Planner, environment: gymnasium.Env) -> None:
    """Checks that the model's observations and actions are the environment's.

    Raises:
        InputError: if their sizes differ.
    """
    for name, space, expected in (
        ("observations", environment.observation_space, planner.spec.observation_size),
        ("actions", environment.action_space, planner.spec.action_size),
    ):
        if space.shape != (expected,):
            raise InputError(
                f"The checkpoint's {name} have {expected} dimensions, the environment's have shape {space.shape}: "
                "choose the --environment that the dataset was collected in."
            )


def run_episodes(
    planner: Planner,
    environments: Sequence[gymnasium.Env],
    seeds: Sequence[int],
    max_length: int = 1000,
    on_step: OnStep | None = None,
) -> list[EpisodeResult]:
    """Runs one episode in each environment; those that have ended cost nothing more.

    Args:
        planner: acts in all of them at once.
        environments: one for each seed.
        seeds: of each episode.
        max_length: steps after which an episode is cut.
        on_step: called after each step with the results so far.
    """
    results = [EpisodeResult(seed) for seed in seeds]
    observations = [env.reset(seed=seed)[0] for env, seed in zip(environments, seeds, strict=True)]
    planner.reset(seeds)
    live = list(range(len(seeds)))
    while live:
        started = time.perf_counter()
        actions = planner.act(np.stack([observations[i] for i in live]), live)
        seconds = (time.perf_counter() - started) / len(live)
        rewards = []
        for i, action in zip(live, actions, strict=True):
            observations[i], reward = _step(environments[i], action, results[i], max_length)
            results[i].seconds += seconds
            rewards.append(reward)
        planner.observe(rewards, environments=live)
        live = [i for i in live if not results[i].ended]
        if on_step is not None:
            on_step(results)
    return results


def _step(
    environment: gymnasium.Env, action: np.ndarray, result: EpisodeResult, max_length: int
) -> tuple[np.ndarray, float]:
    space = environment.action_space
    if isinstance(space, gymnasium.spaces.Box):
        action = np.clip(action, space.low, space.high).astype(space.dtype)
    observation, reward, result.terminated, truncated, _ = environment.step(action)
    result.return_ += float(reward)
    result.length += 1
    result.truncated = not result.terminated and (truncated or result.length >= max_length)
    return observation, float(reward)
