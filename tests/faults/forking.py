"""Run a command again and again in forked processes that are killed, until it ends.

A fork takes milliseconds where the import of torch takes seconds, and a process that has computed gradients cannot be
forked: import torch before, and compute nothing in the process that forks.

Half of the processes end themselves by SIGKILL at one of the moments in which they are about to open, rename or delete
a file of their folder; the others are killed after a random time, and thereby also in the middle of writing. What a
killed process leaves is checked each time.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trajectory_adacat.console import dispatch

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}
LATEST_EVENT = 40  # in which a process ends itself
LONGEST = 0.15  # seconds after its first event, in which a process is killed


def run(argv: list[str]) -> None:
    """Run a command in this process, with what it prints in a file."""
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    dispatch(argv)


def fork(argv: list[str], folder: Path, at_event: int | None) -> tuple[int, int]:
    """Start a command in a forked process; return its id, and a pipe that gets a byte at its first event in a folder.

    ``at_event`` is the number of the event at which it ends itself.
    """
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid:
        os.close(sending)
        return pid, receiving
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS and any(folder.name in str(argument) for argument in arguments[:2]):
            seen += 1
            if seen == 1:
                os.write(sending, b".")
            if seen == at_event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        run(argv)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kill_again_and_again(
    resumed: Callable[[], list[str]],
    folder: Path,
    n_kills: int,
    check: Callable[[], None],
    verify: Callable[[], None],
    latest_event: int = LATEST_EVENT,
) -> dict[str, int]:
    """Kill a command ``n_kills`` times, then let it end; return how often it was killed, and where.

    A command that ends by itself before the last kill is verified and started anew.

    Args:
        resumed: returns the command that goes on.
        folder: what the command writes to.
        n_kills: number of kills.
        check: checks what a killed process has left.
        verify: checks what a process has left that has ended.
        latest_event: number of the latest event at which a process ends itself.
    """
    moments = random.Random(n_kills)
    killed = {"at an event": 0, "after a time": 0, "ended": 0}
    while (n := killed["at an event"] + killed["after a time"]) < n_kills:
        at_event = moments.randint(1, latest_event) if n % 2 else None
        pid, pipe = fork(resumed(), folder, at_event)
        os.read(pipe, 1)  # the first event, or the end of the process
        if at_event is None:
            time.sleep(moments.uniform(0.0, LONGEST))
            os.kill(pid, signal.SIGKILL)
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed["after a time" if at_event is None else "at an event"] += 1
            check()
            continue
        assert os.WEXITSTATUS(status) == 0, Path("log.txt").read_text()[-3000:]
        killed["ended"] += 1
        verify()
        shutil.rmtree(folder)
    finish(resumed())
    verify()
    return killed


def finish(argv: list[str]) -> None:
    """Let a command run to its end."""
    pid, pipe = fork(argv, Path("nowhere"), None)
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    assert status == 0, Path("log.txt").read_text()[-3000:]
