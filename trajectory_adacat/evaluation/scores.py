"""Compute D4RL's normalized scores of the locomotion tasks."""

import re

# Undiscounted returns of D4RL's random policy (score 0) and of its expert (score 100), from D4RL's infos.py.
REFERENCE_RETURNS = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
}

_NAMES = re.compile(
    r"(?P<environment>hopper|halfcheetah|walker2d|ant)"
    r"-(random|medium|medium-replay|medium-expert|expert|full-replay)-(v2|collected)"
)


def reference_returns(dataset: str) -> tuple[float, float] | None:
    """Return the returns with scores 0 and 100 in a dataset's environment; None if they are not known.

    They are known for D4RL's v2 datasets and for the ``-collected`` datasets, which use the same environments.
    """
    match = _NAMES.fullmatch(dataset)
    return REFERENCE_RETURNS[match["environment"]] if match else None


def normalized_score(dataset: str, undiscounted_return: float) -> float | None:
    """Return the normalized score of a return: 0 for D4RL's random policy, 100 for its expert.

    It is None without reference returns. D4RL's ``get_normalized_score`` and Trajectory Transformer's ``score`` are the
    same number as a fraction.
    """
    references = reference_returns(dataset)
    if references is None:
        return None
    low, high = references
    return 100.0 * (undiscounted_return - low) / (high - low)
