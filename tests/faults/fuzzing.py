"""How many generated inputs a test tries: 300 over all such tests, or as many as ``FUZZ_CASES`` says."""

import os
from typing import Any

from hypothesis import HealthCheck, settings

TESTS = 5  # that share the cases
CASES = int(os.environ.get("FUZZ_CASES", "300"))

settings.register_profile(
    "fuzzing", max_examples=-(-CASES // TESTS), deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def fuzzed(test: Any) -> Any:
    """Let a test of Hypothesis try its share of the cases."""
    return settings(settings.get_profile("fuzzing"))(test)
