"""Device and number of threads of a command."""

import os

import torch

from trajectory_adacat.errors import InputError

MOST_THREADS = 1024


def use_device(name: str) -> torch.device:
    """Return the device ``name``, such as ``cpu`` or ``cuda:1``, after a small allocation on it.

    Raises:
        InputError: if this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # torch raises each of them for missing devices
        reason = str(error).partition(". ")[0]
        raise InputError(f"--device {name} cannot be used on this machine: {reason}. Try cpu.") from error
    return device


def use_threads(count: int) -> None:
    """Set the number of threads of this process.

    Raises:
        InputError: if ``count`` is below 1 or above `MOST_THREADS`.
    """
    if not 1 <= count <= MOST_THREADS:
        raise InputError(f"--threads must be at least 1 and at most {MOST_THREADS}, got {count}.")
    torch.set_num_threads(count)


def limit_onednn_cache() -> None:
    """Bound the memory of bfloat16 planning on a CPU. Call it before the first bfloat16 product of the process.

    oneDNN prepares a kernel for each shape and keeps 1024 of them by default. The shapes change with the length of the
    key-value cache, so that this takes gigabytes. A value of ONEDNN_PRIMITIVE_CACHE_CAPACITY in the environment, which
    new processes inherit, overrides the limit of 16.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
