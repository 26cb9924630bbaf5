"""Compare a second thread with a second process.

Run ``python -m benchmarks.threads`` in the clone on an idle machine. It prints planned actions and training steps per
second for one process with one thread, one process with two threads, and two processes with one thread each. Rollouts
and trainings of several seeds can use the last layout (``--processes`` of ``plan.py``; one ``train.py`` for each seed).
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

import numpy as np
import torch

from benchmarks.training import CASES, PLAIN, Steps
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.settings import build

LAYOUTS = [(1, 1), (1, 2), (2, 1)]  # processes and threads of each
Step = Callable[[], object]

_barrier: Barrier  # set in workers


def planning(config: GPTConfig, search: BeamSearchConfig, window: WindowConfig) -> Step:
    """Return a function that plans an action for one environment, with random weights and a full context."""
    spec, n_transitions = config.spec, config.n_transitions
    normalizer = MinMaxNormalizer(torch.zeros(spec.dimension), torch.ones(spec.dimension))
    planner = Planner(GPT(config), normalizer, PlannerConfig(search, window))
    planner.reset(0)
    observation = np.full((1, spec.observation_size), 0.5)

    def act() -> None:
        planner.act(observation)
        planner.observe([0.5])

    for _ in range(n_transitions):
        act()
    return act


def training(case: str) -> Step:
    """Return a function that takes a training step on random tokens."""
    return Steps(CASES[case], PLAIN, CASES[case].batch_size, torch.device("cpu")).step


TASKS: dict[str, Callable[[], Step]] = {
    "actions, preset cpu": lambda: planning(
        build(GPTConfig, {"observation_size": 11, "action_size": 3, **CASES["cpu"].form}),
        BeamSearchConfig(0.99, horizon=3, beam_width=32, cdf_act=0.8),
        WindowConfig("full", 2),
    ),
    "actions, halfcheetah": lambda: planning(
        GPTConfig(17, 6), BeamSearchConfig(0.99, horizon=5, beam_width=32, drop_act=0.6), WindowConfig("cropped", 5)
    ),
    "training steps, preset cpu": lambda: training("cpu"),
    "training steps, paper without dropout in the attention": lambda: training("attention"),
}


class ThreadsArguments(CommandParser):
    """Measure the throughput of threads and processes."""

    tasks: list[str] = list(TASKS)  # rows of the table
    seconds: float = 15.0  # duration of each measurement


def throughput(task: str, n_processes: int, threads: int, seconds: float) -> float:
    """Return the steps per second of all processes together.

    Raises:
        BrokenProcessPool: if a process dies.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, context, _keep_barrier, (context.Barrier(n_processes),)) as pool:
        rates = [pool.submit(_measure, task, threads, seconds) for _ in range(n_processes)]
        pool.submit(int)  # wakes the pool's thread, which else does not watch the process that was started last
        return sum(rate.result() for rate in rates)


def _keep_barrier(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _measure(task: str, threads: int, seconds: float) -> float:
    """Return the steps per second of this process while the others run as well."""
    torch.set_num_threads(threads)
    step = TASKS[task]()
    _barrier.wait()
    n, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or n == 0:
        step()
        n += 1
    return n / elapsed


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, each line as soon as it is measured."""
    arguments = ThreadsArguments().parse(argv)
    unknown = {*arguments.tasks} - {*TASKS}
    if unknown or arguments.seconds <= 0:
        raise InputError(f"--tasks are some of {', '.join(TASKS)}, and --seconds is positive.")
    print(
        "| each second | 1 process, 1 thread | 1 process, 2 threads | 2 processes, 1 thread each |\n|---|---|---|---|"
    )
    for task in arguments.tasks:
        rates = [throughput(task, *layout, arguments.seconds) for layout in LAYOUTS]
        columns = [f"{rate:.3g} ({rate / rates[0]:.2f})" for rate in rates]
        print("| " + " | ".join([task, *columns]) + " |", flush=True)


if __name__ == "__main__":
    run_command(main)
