"""Clock of the benchmarks."""

import time

import torch


def now() -> float:
    """Return processor seconds with one thread, since other processes affect them less; else wall-clock seconds."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
