"""One thread for each test process: the runner starts one process a core."""

import contextlib
import fcntl
import functools
import os
import pty
import signal
import struct
import sys
import termios
import threading
from typing import Self

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import tap.tap
import torch

torch.set_num_threads(1)
# A shell starts background commands with SIGINT ignored, and the tests send it to themselves and to what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tap parses a class's source code for each parser that is made, which takes most of the time of a small command.
tap.tap.get_class_variables = functools.cache(tap.tap.get_class_variables)


@pytest.fixture(autouse=True)
def _validated_distributions() -> None:
    # torch.compile switches the checks of all distributions of the process off when it is first used.
    torch.distributions.Distribution.set_default_validate_args(True)


class Terminal:
    """A terminal of 100 columns and 30 lines in place of stderr, while it is entered.

    Attributes:
        text: all that was written to it, once it is left.
    """

    text = ""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._old, sys.stderr = sys.stderr, os.fdopen(theirs, "w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        terminal, sys.stderr = sys.stderr, self._old
        terminal.close()
        self._reader.join()
        os.close(self._ours)
        self.text = self._written.decode()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # raised by Linux when the other end is closed
            while found := os.read(self._ours, 4096):
                self._written.extend(found)


@pytest.fixture
def terminal() -> Terminal:
    """A terminal to enter."""
    return Terminal()
