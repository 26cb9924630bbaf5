"""Device and number of threads of a command."""

import torch

from trajectory_adacat.errors import InputError


def use_device(name: str) -> torch.device:
    """Return the device ``name``, such as ``cpu`` or ``cuda:1``, after a small allocation on it.

    Raises:
        InputError: if this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # torch raises either one for missing devices
        reason = str(error).partition(". ")[0]
        raise InputError(f"--device {name} cannot be used on this machine: {reason}. Try cpu.") from error
    return device


def use_threads(count: int) -> None:
    """Set the number of threads of this process.

    Raises:
        InputError: if ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"--threads must be at least 1, got {count}.")
    torch.set_num_threads(count)
