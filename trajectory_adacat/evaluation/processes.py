"""Episodes dealt to several processes, each with its own planner, environments and threads.

An episode draws from its own random numbers, so that it goes the same way whichever process runs it.
"""

import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import gymnasium

from trajectory_adacat.computing import use_threads
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, check_fit, run_episodes
from trajectory_adacat.planning.planner import Planner
from trajectory_adacat.profiling import StepProfile

SECONDS_TO_TIDY_UP = 5.0


@dataclass(frozen=True)
class Rollouts:
    """What any process needs in order to run episodes.

    Attributes:
        make_planner: can be pickled.
        make_environment: can be pickled; called once for each episode, which closes what it made.
        max_length: steps after which an episode is cut.
        threads: of each process.
        profile: where a profile of the first process's third plan goes, None for none.
    """

    make_planner: Callable[[], Planner]
    make_environment: Callable[[], gymnasium.Env]
    max_length: int = 1000
    threads: int = 1
    profile: Path | None = None

    def run(self, seeds: Sequence[int], on_step: OnStep) -> tuple[list[EpisodeResult], int]:
        """Runs an episode for each seed in this process; the results, and how many inputs were clamped.

        Raises:
            InputError: if the model does not fit the environment, or what making either raises.
        """
        use_threads(self.threads)
        planner = self.make_planner()
        with ExitStack() as stack:
            environments = [stack.enter_context(self.make_environment()) for _ in seeds]
            for environment in environments[:1]:  # all are alike
                check_fit(planner, environment)
            if self.profile is not None:
                # The first plans have shorter contexts and fill caches; one plan alone has some 300,000 operators
                # where 15 transitions are imagined.
                n_warmup = 2 * planner.config.plan_freq
                profile = stack.enter_context(StepProfile(self.profile, n_warmup, 1, planner.model.device))
                on_step = _also(profile.step, on_step)
            return run_episodes(planner, environments, seeds, self.max_length, on_step), planner.n_clamped


def _also(first: Callable[[], None], then: OnStep) -> OnStep:
    def both(results: Sequence[EpisodeResult]) -> None:
        first()
        then(results)

    return both


def run_in_processes(
    rollouts: Rollouts, seeds: Sequence[int], n_processes: int, on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    """Runs an episode for each seed, shared evenly by processes; in this one, if one is enough.

    An interruption by the user (SIGINT) reaches this process alone, which ends the others. The main thread calls it.

    Args:
        rollouts: how to run them.
        seeds: of the episodes.
        n_processes: how many processes share them.
        on_step: called after each step of each process with all results so far, in the order of the seeds.

    Returns:
        The results in the order of the seeds, and how many inputs were clamped.

    Raises:
        InputError: what a process raised, or if one died.
        RuntimeError: the traceback of any other error in a process.
    """
    n_processes = min(n_processes, len(seeds))
    if n_processes == 1:
        return rollouts.run(seeds, on_step)
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of this process's threads
    processes: dict[Connection, BaseProcess] = {}
    try:
        for i in range(n_processes):
            own = rollouts if i == 0 else replace(rollouts, profile=None)
            receiver, sender = context.Pipe(duplex=False)
            processes[receiver] = context.Process(target=_work, args=(own, seeds[i::n_processes], sender), daemon=True)
            with _interruptions_ignored():  # by the new process too, from its first moment on
                processes[receiver].start()
            sender.close()  # the process's own copy stays, and its death closes that
        return _collect(processes, seeds, on_step)
    finally:
        _end([process for process in processes.values() if process.pid is not None])


@contextmanager
def _interruptions_ignored() -> Iterator[None]:
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(SECONDS_TO_TIDY_UP)
        process.kill()  # nothing happens to one that has ended
        process.join()


def _collect(
    processes: dict[Connection, BaseProcess], seeds: Sequence[int], on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    results = [EpisodeResult(seed) for seed in seeds]
    running, n_clamped = list(processes), 0
    while running:
        for receiver in wait(running):
            assert isinstance(receiver, Connection)
            message = _receive(receiver, processes[receiver])
            if isinstance(message, int):
                n_clamped += message
                running.remove(receiver)
            else:
                results[list(processes).index(receiver) :: len(processes)] = message
                on_step(results)
    for process in processes.values():  # so that none is ended while it tidies up
        process.join(SECONDS_TO_TIDY_UP)
    return results, n_clamped


def _receive(receiver: Connection, process: BaseProcess) -> list[EpisodeResult] | int:
    try:
        message = receiver.recv()
    except EOFError:
        process.join()
        raise InputError(
            f"A process that ran episodes died (exit code {process.exitcode}); where memory is short, use fewer "
            "--processes."
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _work(rollouts: Rollouts, seeds: Sequence[int], sender: Connection) -> None:
    """What a process does: sends its results after each step, and at the end how many inputs were clamped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the first process ends this one, which tidies up
    with suppress(BrokenPipeError):  # the first process is gone
        try:
            sender.send(rollouts.run(seeds, sender.send)[1])
        except BrokenPipeError:
            raise
        except InputError as error:
            sender.send(InputError(str(error)))
        except Exception as error:  # it need not survive pickling, its text does
            text = "".join(traceback.format_exception(error))
            sender.send(RuntimeError(f"In a process that ran episodes:\n{text}"))
