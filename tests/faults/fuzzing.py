"""How many inputs are generated: ``FUZZ_CASES`` or 300 files, and as many command lines."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("FUZZ_CASES", "300"))
CASES_EACH = -(-CASES // 4)  # of the four tests of files


def fuzzed(n_cases: int) -> Callable[[Any], Any]:
    """Return a decorator that lets a test of Hypothesis try a number of cases."""
    return settings(max_examples=n_cases, deadline=None, suppress_health_check=list(HealthCheck), database=None)
