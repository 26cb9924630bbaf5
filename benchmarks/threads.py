"""What a second thread is worth, beside a second process.

Run ``python -m benchmarks.threads`` from the clone, with nothing else running: planned actions and training steps each
second, by one process with one thread, one with two, and two with one each. Rollouts and trainings of several seeds can
share a machine in the last way (``--processes`` of ``plan.py``; one ``train.py`` for each seed).
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import numpy as np
import torch

from benchmarks.training import CASES, PLAIN, Steps
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.planning.beam_search import BeamSearchConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.settings import build

LAYOUTS = [(1, 1), (1, 2), (2, 1)]  # processes and threads of each
Step = Callable[[], object]


def planning(config: GPTConfig, search: BeamSearchConfig, window: WindowConfig) -> Step:
    """Planning an action of one environment, under random weights and with a full context."""
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
    """A training step on random tokens."""
    return Steps(CASES[case], PLAIN, CASES[case].batch_size).step


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
    """Measure what threads and processes are worth."""

    tasks: list[str] = list(TASKS)  # which of the table's rows
    seconds: float = 15.0  # of each measurement


def work(task: str, threads: int, seconds: float, barrier: Barrier, sender: Connection) -> None:
    """What a process does: sends the steps that it takes in a second, while the others run as well."""
    torch.set_num_threads(threads)
    step = TASKS[task]()
    barrier.wait()
    n, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or n == 0:
        step()
        n += 1
    sender.send(n / elapsed)


def throughput(task: str, n_processes: int, threads: int, seconds: float) -> float:
    """Steps in a second of all processes together.

    Raises:
        RuntimeError: if a process died; the others, which may wait for it, are ended.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_processes)
    processes: dict[Connection, BaseProcess] = {}
    rates: list[float] = []
    try:
        for _ in range(n_processes):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(task, threads, seconds, barrier, sender), daemon=True)
            process.start()
            processes[receiver] = process
            sender.close()  # the process's own copy stays, and its death closes that
        while len(rates) < n_processes:
            for ready in wait([*processes]):
                assert isinstance(ready, Connection)
                rates.append(ready.recv())
                processes.pop(ready).join()
    except EOFError:
        raise RuntimeError(f"A process that measured {task!r} died.") from None
    finally:
        for left in processes.values():
            left.terminate()
            left.join()
    return sum(rates)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, a line when it is measured."""
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
