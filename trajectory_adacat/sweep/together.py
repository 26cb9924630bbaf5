"""Run commands at the same time, and stop at the first that fails."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

from trajectory_adacat.errors import InputError
from trajectory_adacat.sweep.runner import ENDED, POLL_SECONDS, end_processes, start_python
from trajectory_adacat.training.interruption import Interruption


def run_together(
    commands: Mapping[str, Sequence[str]], folder: Path, threads: int = 1, on_poll: Callable[[], None] = lambda: None
) -> None:
    """Run commands as processes at the same time, and wait for all of them.

    A signal, an error or the failure of one ends the others.

    Args:
        commands: arguments of the Python interpreter, by name.
        folder: what each prints is written to ``<name>.log`` in it; created if needed.
        threads: of each process.
        on_poll: called some times a second.

    Raises:
        InputError: if one fails, with its last line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running: dict[str, Popen[bytes]] = {}
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption(ENDED))
        stack.callback(lambda: end_processes(running.values()))
        for name, arguments in commands.items():
            with interruption.held():  # no process that is not among those to end
                running[name] = start_python(arguments, folder / f"{name}.log", {"OMP_NUM_THREADS": str(threads)})
        while running:
            time.sleep(POLL_SECONDS)
            ended = {name: process for name, process in running.items() if process.poll() is not None}
            on_poll()
            for name, process in ended.items():
                del running[name]
                if process.returncode:
                    raise InputError(_failure(name, process.returncode, folder / f"{name}.log"))


def _failure(name: str, status: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else f"it ended with status {status} and printed nothing."
    return f"The {name} failed: {last} What it printed is in {log}."
