"""Run episodes with a planner, several side by side."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from trajectory_adacat.computing import use_threads
from trajectory_adacat.environments import check_sizes, describe_error
from trajectory_adacat.evaluation.guarded import FaultError
from trajectory_adacat.evaluation.planned import Discounting, PlannedReturn, compare_returns
from trajectory_adacat.evaluation.recorder import RecordConfig, Recorder
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
        error: what was wrong with the environment's answer at step ``length`` (0: the reset); such an episode is over
            and its return is not a result. None if nothing was.
        seconds: wall-clock time of planning, divided evenly among episodes that are planned together.
        promise: discounted return that the last plan promises; None where it cannot be compared with what follows.
        planned: what the plans promised beside what followed; None until the episode has ended, where it failed, and
            where no step can be compared.
    """

    seed: int
    return_: float = 0.0
    length: int = 0
    terminated: bool = False
    truncated: bool = False
    error: str | None = None
    seconds: float = 0.0
    promise: float | None = None
    planned: PlannedReturn | None = None

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated or self.error is not None

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
        discounting: of the model's training, to compare planned with realized returns; None not to compare them.
        record: what to record of which rollouts; None for nothing.
    """

    make_planner: Callable[[], Planner]
    make_environment: Callable[[], gymnasium.Env]
    max_length: int = 1000
    threads: int = 1
    profile: Path | None = None
    profiled_step: int = 2
    discounting: Discounting | None = None
    record: RecordConfig | None = None

    def run(self, seeds: Sequence[int], on_step: OnStep) -> tuple[list[EpisodeResult], int]:
        """Run an episode for each seed in this process; return the results and the number of clamped inputs.

        Raises:
            InputError: if the model does not fit the environment, or from creating either.
        """
        use_threads(self.threads)
        planner = self.make_planner()
        with ExitStack() as stack:
            environments = []
            for _ in seeds:
                environments.append(self.make_environment())
                stack.callback(_close, environments[-1])
            for environment in environments[:1]:  # all have the same sizes
                check_fit(planner, environment)
            if self.profile is not None:
                # One plan alone has some 300,000 operators if it imagines 15 transitions.
                profile = StepProfile(self.profile, self.profiled_step, 1, planner.model.device)
                on_step = _both(stack.enter_context(profile).step, on_step)
            results = run_episodes(
                planner, environments, seeds, self.max_length, on_step, self.discounting, self.record
            )
            return results, planner.n_clamped


def _close(environment: gymnasium.Env) -> None:
    try:
        environment.close()
    except Exception as error:  # the results are not affected
        warnings.warn(f"An environment could not be closed: {describe_error(error)}", stacklevel=2)


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
    check_sizes(environment, planner.spec.observation_size, planner.spec.action_size, "checkpoint")


def run_episodes(
    planner: Planner,
    environments: Sequence[gymnasium.Env],
    seeds: Sequence[int],
    max_length: int = 1000,
    on_step: OnStep | None = None,
    discounting: Discounting | None = None,
    record: RecordConfig | None = None,
) -> list[EpisodeResult]:
    """Run one episode in each environment. Episodes that have ended are left out of planning.

    Args:
        planner: plans for all environments together.
        environments: one for each seed.
        seeds: seed of each episode.
        max_length: steps after which an episode is cut.
        on_step: called after each step with all results so far.
        discounting: of the model's training, to compare planned with realized returns; None not to compare them. Only
            then does the planner need ``scores``, those of the last plans (`Planner.scores`).
        record: what to record of which rollouts; None for nothing. Only then does the planner need ``plans``.

    An environment that raises an exception, or returns something that is not a finite observation of the right shape, a
    finite reward and two flags, ends its own episode with an ``error``; the others go on.
    """
    results = [EpisodeResult(seed) for seed in seeds]
    size = math.prod(environments[0].observation_space.shape or ())
    observations: dict[int, np.ndarray] = {}
    for i, environment in enumerate(environments):
        with _recorded(results[i]):
            observations[i] = _observation(environment.reset(seed=results[i].seed)[0], size)
    planner.reset(seeds)
    scores: list[dict[int, float]] = [{} for _ in seeds]  # by the step of the plan
    received: list[list[float]] = [[] for _ in seeds]
    live = list(observations)
    recorders = {
        i: Recorder(record, planner, environments[i], results[i].seed, observations[i])
        for i in live
        if record is not None and (record.seeds is None or results[i].seed in record.seeds)
    }
    if on_step is not None and len(live) < len(seeds):
        on_step(results)
    while live:
        started = time.perf_counter()
        actions = planner.act(np.stack([observations[i] for i in live]), live)
        seconds = (time.perf_counter() - started) / len(live)
        rewards = {}
        for i in live if discounting is not None else ():
            if (made := planner.scores[i]) is not None:
                scores[i][results[i].length] = results[i].promise = made
        for i, action in zip(live, actions, strict=True):
            results[i].seconds += seconds
            if i in recorders:
                recorders[i].act(action, planner.plans[i])
            with _recorded(results[i]):
                observations[i], rewards[i] = _step(environments[i], action, results[i], max_length, size)
        if rewards:
            planner.observe(list(rewards.values()), environments=list(rewards))
        for i, reward in rewards.items():
            received[i].append(reward)
            if i in recorders:
                recorders[i].observe(observations[i], reward)
            if discounting is not None and results[i].ended:
                results[i].planned = compare_returns(scores[i], received[i], results[i].terminated, discounting)
        for i in live:
            if i in recorders and results[i].ended:
                recorders[i].save(_summary(results[i]), results[i].terminated, discounting)
        live = [i for i in live if not results[i].ended]
        if on_step is not None:
            on_step(results)
    return results


def _summary(result: EpisodeResult) -> dict[str, Any]:
    """Return the result for the description of a recording."""
    summary = {"return": result.return_, "length": result.length}
    return summary | {name: getattr(result, name) for name in ("terminated", "truncated", "error")}


@contextmanager
def _recorded(result: EpisodeResult) -> Iterator[None]:
    """Record an exception of the environment in its result instead of raising it."""
    try:
        yield
    except FaultError as error:
        result.error = str(error)
    except Exception as error:
        result.error = describe_error(error)


def _step(
    environment: gymnasium.Env, action: np.ndarray, result: EpisodeResult, max_length: int, size: int
) -> tuple[np.ndarray, float]:
    space = environment.action_space
    if isinstance(space, gymnasium.spaces.Box):
        action = np.clip(action, space.low, space.high).astype(space.dtype)
    result.length += 1
    answer = environment.step(action)
    if len(answer) != 5:
        raise FaultError(
            f"step() returned {len(answer)} values instead of observation, reward, terminated, truncated and info"
        )
    reward = _reward(answer[1])
    terminated, truncated = _flag("terminated", answer[2]), _flag("truncated", answer[3])
    try:
        observation = _observation(answer[0], size)
    except FaultError:
        if not (terminated or truncated):
            raise
        observation = np.full(size, np.nan)  # nothing is planned from the last one
    result.return_ += reward
    result.terminated = terminated
    result.truncated = not terminated and (truncated or result.length >= max_length)
    return observation, reward


def _observation(value: Any, size: int) -> np.ndarray:
    observation = np.asarray(value, dtype=np.float64)
    if observation.shape != (size,):
        raise FaultError(f"the observation has shape {observation.shape} instead of ({size},)")
    if not np.isfinite(observation).all():
        raise FaultError(f"the observation's number {int(np.argmin(np.isfinite(observation)))} is not finite")
    return observation


def _reward(value: Any) -> float:
    reward = np.asarray(value, dtype=np.float64)
    if reward.size != 1:
        raise FaultError(f"the reward has shape {reward.shape} instead of being one number")
    if not np.isfinite(reward).all():
        raise FaultError(f"the reward is {value!r}, not a finite number")
    return float(reward.item())


def _flag(name: str, value: Any) -> bool:
    flag = np.asarray(value)
    if flag.size != 1 or flag.item() not in (0, 1):
        raise FaultError(f"{name} is {value!r} instead of true or false")
    return bool(flag.item())
