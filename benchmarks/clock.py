"""Clock of the benchmarks."""

import time

import torch


def now(device: torch.device | str = "cpu") -> float:
    """Return seconds of a clock, once the work of ``device`` is done.

    On a CPU with one thread they are processor seconds, since other processes affect them less; else wall-clock
    seconds.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
