"""Measurements in a process of their own, so that memory and compiled code are theirs alone."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def call_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls ``function``, which a fresh process can import, in such a process.

    Raises:
        BrokenProcessPool: if the process dies, as it does where memory is short.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
