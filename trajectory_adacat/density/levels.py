"""16-bit samples as levels, as a waveform in [-1, 1], and on the mu-law scale."""

import math
from typing import Any

import torch
from torch import Tensor

LEVELS = 65536
MU = 255.0


def to_levels(samples: Tensor) -> Tensor:
    """Return the levels, int64 in [0, 65535], of int16 ``samples``."""
    return samples.long() + LEVELS // 2


def to_samples(levels: Tensor) -> Tensor:
    """Return the int16 samples of ``levels``."""
    return (levels - LEVELS // 2).to(torch.int16)


def centres(levels: Tensor) -> Tensor:
    """Return the centres in [0, 1] of the levels' intervals, float64."""
    return (levels.double() + 0.5) / LEVELS


def waveform(levels: Tensor) -> Tensor:
    """Return the centres in [-1, 1] of the levels' intervals, float32."""
    return (2 * centres(levels) - 1).float()


def mu_law(values: Tensor) -> Tensor:
    """Map ``values`` in [-1, 1] to the mu-law scale, ``sign(x) log(1 + mu |x|) / log(1 + mu)`` with mu = 255."""
    return values.sign() * (MU * values.abs()).log1p() / math.log1p(MU)


def level_log_prob(distribution: Any, levels: Tensor) -> Tensor:
    """Return the log of each level's mass, in nats.

    Level i is the interval from i / 65536 to (i + 1) / 65536. Those of the first and the last level reach to minus and
    plus infinity.

    Args:
        distribution: on [0, 1] or the real line.
        levels: of the batch shape.
    """
    low = (levels.double() / LEVELS).masked_fill(levels == 0, -torch.inf)
    high = ((levels.double() + 1) / LEVELS).masked_fill(levels == LEVELS - 1, torch.inf)
    return distribution.interval_log_prob(low, high)


def raw_log_width() -> float:
    """Return the log of a level's width in [-1, 1]."""
    return math.log(2 / LEVELS)


def mu_law_log_width(levels: Tensor) -> Tensor:
    """Return the log of each level's width on the mu-law scale."""
    edges = (2 * torch.stack((levels, levels + 1)).double() / LEVELS) - 1
    return mu_law(edges).diff(dim=0).squeeze(0).log()
