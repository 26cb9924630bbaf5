"""Run episodes with a planner, several side by side."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from trajectory_adacat.computing import use_threads
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.planner import Planner
from trajectory_adacat.profiling import StepProfile


@dataclass
class EpisodeResult:
    """The state of an episode so far, or its result once it has ended.

    Attributes:
        seed: seed of the environment's reset and of the planner's random numbers.
        return_: undiscounted sum of the rewards.
        length: environment steps.
        terminated: whether the environment reached a terminal state.
        truncated: whether the episode was cut.
        seconds: wall-clock time of planning, divided evenly among episodes that are planned together.
    """

    seed: int
    return_: float = 0.0
    length: int = 0
    terminated: bool = False
    truncated: bool = False
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated

    @property
    def seconds_per_action(self) -> float:
        """Wall-clock seconds for each planned action."""
        return self.seconds / max(self.length, 1)


OnStep = Callable[[Sequence[EpisodeResult]], None]


@dataclass(frozen=True)
class Rollouts:
    """How to run episodes in any process.

    Attributes:
        make_planner: creates the planner; can be pickled.
        make_environment: creates the environment of an episode, which is closed afterwards; can be pickled.
        max_length: steps after which an episode is cut.
        threads: number of threads.
        profile: folder for a profile of one step; None for no profile.
        profiled_step: that step, counted from 0; one that plans, and not one of the first plans, which have shorter
            contexts and fill caches.
    """

    make_planner: Callable[[], Planner]
    make_environment: Callable[[], gymnasium.Env]
    max_length: int = 1000
    threads: int = 1
    profile: Path | None = None
    profiled_step: int = 2

    def run(self, seeds: Sequence[int], on_step: OnStep) -> tuple[list[EpisodeResult], int]:
        """Run an episode for each seed in this process; return the results and the number of clamped inputs.

        Raises:
            InputError: if the model does not fit the environment, or from creating either.
        """
        use_threads(self.threads)
        planner = self.make_planner()
        with ExitStack() as stack:
            environments = [stack.enter_context(self.make_environment()) for _ in seeds]
            for environment in environments[:1]:  # all have the same sizes
                check_fit(planner, environment)
            if self.profile is not None:
                # One plan alone has some 300,000 operators if it imagines 15 transitions.
                profile = StepProfile(self.profile, self.profiled_step, 1, planner.model.device)
                on_step = _both(stack.enter_context(profile).step, on_step)
            return run_episodes(planner, environments, seeds, self.max_length, on_step), planner.n_clamped


def _both(first: Callable[[], None], then: OnStep) -> OnStep:
    def both(results: Sequence[EpisodeResult]) -> None:
        first()
        then(results)

    return both


def check_fit(planner: Planner, environment: gymnasium.Env) -> None:
    """Check that the model and the environment have observations and actions of the same sizes.

    Raises:
        InputError: if they do not.
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
    """Run one episode in each environment. Episodes that have ended are left out of planning.

    Args:
        planner: plans for all environments together.
        environments: one for each seed.
        seeds: seed of each episode.
        max_length: steps after which an episode is cut.
        on_step: called after each step with all results so far.
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
