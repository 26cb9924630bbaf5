"""The clock of the benchmarks."""

import time

import torch


def now() -> float:
    """Seconds: of this process's processor where one thread computes, so that others on the machine count less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
