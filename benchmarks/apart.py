"""Measurements in a separate process each, so that they share neither memory nor compiled code."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch


def call_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function``, which must be importable, in a new process.

    Raises:
        BrokenProcessPool: if the process dies, for example when memory runs out.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mib(device: str = "cpu") -> float:
    """Return the peak memory so far in MiB: of this process, or of its tensors on a GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
