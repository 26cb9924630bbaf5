"""What a command computes with: its device and its threads."""

import torch

from trajectory_adacat.errors import InputError


def use_device(name: str) -> torch.device:
    """The device of a name such as ``cpu`` or ``cuda:1``.

    Raises:
        InputError: if there is none of this name on this machine.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # what torch raises where a device is not there
        reason = str(error).partition(". ")[0]
        raise InputError(f"--device {name} cannot be used on this machine: {reason}. Try cpu.") from error
    return device


def use_threads(count: int) -> None:
    """Lets this process compute with ``count`` threads.

    Raises:
        InputError: if it is not positive.
    """
    if count < 1:
        raise InputError(f"--threads must be at least 1, got {count}.")
    torch.set_num_threads(count)
