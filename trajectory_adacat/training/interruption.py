"""SIGINT and SIGTERM during a command: it saves and leaves. A second signal ends the process at once."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from trajectory_adacat.checkpoint import checkpoint_name
from trajectory_adacat.checks import BOOLEANS
from trajectory_adacat.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Raise `Interrupted` at the first signal: at once, or at the end of the block that `held` protects.

    Signals that the process ignores stay ignored. Python delivers signals to the main thread alone.

    Args:
        message: of the exception.
        active: whether to do anything.
    """

    def __init__(self, message: str = "", active: bool = True) -> None:
        self._message = message
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}
        self._depth = 0
        self._pending: int | None = None

    def __enter__(self) -> Self:
        for number in SIGNALS if self._active else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # A signal during the import of a C extension comes out as an ImportError that it caused.
        cause = error.__cause__ if error is not None else None
        while cause is not None:
            if isinstance(cause, Interrupted):
                raise cause from None
            cause = cause.__cause__

    @property
    def is_pending(self) -> bool:
        """Whether a signal waits for the end of a block."""
        return self._pending is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait for the end of the block, which an exception leaves as usual."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending is not None and not self._depth:
            number, self._pending = self._pending, None
            raise Interrupted(self._message, number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)  # the second signal needs no Python to end the process
        if self._depth:
            self._pending = number
        else:
            raise Interrupted(self._message, number)


def save_and_leave(
    interrupted: Interrupted, folder: Path, step: int, n_steps: int, save: Callable[[], object]
) -> Interrupted:
    """Save the current step unless that has been done, and return the exception that says so."""
    if step == 0:
        return Interrupted("no step was done, so nothing was saved.", interrupted.signal, has_saved=False)
    checkpoint = folder / checkpoint_name(step)
    if not checkpoint.exists():
        save()
    return Interrupted(f"saved step {step} of {n_steps} in {checkpoint}.", interrupted.signal)


@contextmanager
def telling_how_to_resume(command: str, argv: Sequence[str] | None, flag: str | None = "--resume") -> Iterator[None]:
    """Add the command that goes on to the message of an `Interrupted`.

    ``flag`` is what it needs for that; None for a command that is repeated as it was given.
    """
    try:
        yield
    except Interrupted as interrupted:
        given = sys.argv[1:] if argv is None else argv
        if flag is None:
            line = shlex.join(["trajectory-adacat", command, *given])
        else:
            line = resuming_command(command, given, flag if interrupted.has_saved else None)
        raise Interrupted(f"{interrupted} Go on with: {line}", interrupted.signal) from None


def resuming_command(command: str, argv: Sequence[str], flag: str | None = "--resume") -> str:
    """Return the command line that goes on: with ``flag``, without --overwrite."""
    kept: list[str] = []
    skips_value = False
    for argument in argv:
        name = argument.partition("=")[0]
        if name in ("--resume", "--overwrite"):
            skips_value = name == argument
        elif skips_value and argument.lower() in BOOLEANS:
            skips_value = False
        else:
            skips_value = False
            kept.append(argument)
    return shlex.join(["trajectory-adacat", command, *kept, *([flag] if flag else [])])
