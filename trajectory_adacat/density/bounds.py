"""The range of a table's columns, and the density outside it."""

from typing import Self

import numpy as np
import torch
from torch import Tensor


class Bounds:
    """Scale columns to [0, 1] by the bounds of n training rows, with a density outside them.

    Outside the bounds each column has a mass of ``2 / (n + 1)``, the probability that another row of the same
    distribution lies there. Half of it falls off on each side with the distance d in units of the bounds' distance, as
    ``1 / (1 + d)^2``. So each row has a positive density, and the density integrates to 1.

    Args:
        low: lower bound of each column, float64 ``[D]``.
        high: upper bound of each column, float64 ``[D]``.
        n_rows: number of training rows n.

    Attributes:
        outside: mass outside the bounds of a column.
    """

    def __init__(self, low: Tensor, high: Tensor, n_rows: int) -> None:
        self.low, self.high, self.outside = low, high, 2 / (n_rows + 1)

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """Return the bounds of the training ``rows [n, D]``."""
        return cls(rows.amin(0), rows.amax(0), len(rows))

    def scale(self, rows: Tensor) -> Tensor:
        """Map the bounds to [0, 1], float32; values outside count as the bound."""
        return ((rows - self.low) / (self.high - self.low)).clamp(0.0, 1.0).float()

    def unscale(self, unit: Tensor) -> Tensor:
        """Map [0, 1] to the bounds, float64 ``[n, D]``."""
        return (self.low + unit.double() * (self.high - self.low)).clamp(self.low, self.high)

    def log_prob(self, rows: Tensor, scaled: Tensor) -> Tensor:
        """Return the log-densities of ``rows [n, D]`` in their units, given those of the scaled rows, ``[n, D]``."""
        span = self.high - self.low
        distance = torch.maximum(self.low - rows, rows - self.high) / span  # above 0 outside the bounds
        outside = np.log(self.outside / 2) - 2 * distance.clamp(min=0).log1p()
        return torch.where(distance > 0, outside, scaled + np.log1p(-self.outside)) - span.log()
