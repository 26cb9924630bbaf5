"""Divide episodes among processes. A result does not depend on the process, since each episode has its own seed."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.queues import SimpleQueue

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, Rollouts
from trajectory_adacat.signals import sigint_ignored

POLL_SECONDS = 0.05
Steps = SimpleQueue[tuple[int, list[EpisodeResult]]]  # a worker's number and its results so far, after each step

_steps: Steps  # set in workers


def run_in_processes(
    rollouts: Rollouts, seeds: Sequence[int], n_processes: int, on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    """Run an episode for each seed, divided evenly among worker processes; without any if ``n_processes`` is 1.

    Workers ignore SIGINT. They end when this function raises and when this process ends. Call it in the main thread.

    Args:
        rollouts: how to run the episodes; only the first worker writes a profile.
        seeds: seeds of the episodes.
        n_processes: number of workers.
        on_step: called after each step of each worker with all results so far, in the order of the seeds.

    Returns:
        The results in the order of the seeds, and the number of clamped inputs.

    Raises:
        InputError: from a worker, or if a worker died.
        RuntimeError: for any other error in a worker, with its traceback.
    """
    n_processes = min(n_processes, len(seeds))
    if n_processes == 1:
        return rollouts.run(seeds, on_step)
    shares = [replace(rollouts, profile=None if i else rollouts.profile) for i in range(n_processes)]
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of this process's threads
    steps, others, workers = context.SimpleQueue(), multiprocessing.active_children(), []
    with ProcessPoolExecutor(n_processes, context, _prepare_worker, (steps,)) as pool:
        try:
            with sigint_ignored():  # workers inherit it
                futures = [pool.submit(_work, share, seeds[i::n_processes], i) for i, share in enumerate(shares)]
                pool.submit(int)  # wakes the pool's thread, which else does not watch the worker that was started last
                workers = [child for child in multiprocessing.active_children() if child not in others]
            return _collect(futures, steps, seeds, on_step)
        except BrokenProcessPool:
            pool.shutdown()  # sends SIGTERM to the other workers
            code = next((worker.exitcode for worker in workers if worker.exitcode != -signal.SIGTERM), "unknown")
            message = f"A worker process died (exit code {code}); if memory is short, use fewer --processes."
            raise InputError(message) from None
        except BaseException:
            for child in multiprocessing.active_children():  # the pool would wait for the episodes of its workers
                if child not in others:
                    child.kill()
            raise


def _collect(
    futures: Sequence[Future[int]], steps: Steps, seeds: Sequence[int], on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    results, pending = [EpisodeResult(seed) for seed in seeds], set(futures)
    while pending:
        done, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
        while not steps.empty():
            worker, results[worker :: len(futures)] = steps.get()
            on_step(results)
        for future in done:
            future.result()  # raises the worker's error
    return results, sum(future.result() for future in futures)


def _work(rollouts: Rollouts, seeds: Sequence[int], worker: int) -> int:
    try:
        return rollouts.run(seeds, lambda results: _steps.put((worker, list(results))))[1]
    except InputError:
        raise
    except Exception as error:  # pickling may fail or lose the traceback
        raise RuntimeError(f"In a worker process:\n{''.join(traceback.format_exception(error))}") from None


def _prepare_worker(steps: Steps) -> None:
    global _steps
    _steps = steps
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
