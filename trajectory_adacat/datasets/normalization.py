"""Min-max normalization of transitions to [0, 1], the support of all output distributions."""

from collections.abc import Mapping

import torch
from torch import Tensor


class MinMaxNormalizer:
    """Map each dimension from [low, high] to [0, 1] (paper section 4.4: inputs and targets are min-max normalized).

    A constant dimension maps to 0.5, and any value maps back to the constant.

    Args:
        low: minimum of each dimension, shape ``(D,)``.
        high: maximum of each dimension, shape ``(D,)``.

    Raises:
        ValueError: if the shapes differ or are not vectors.
    """

    def __init__(self, low: Tensor, high: Tensor) -> None:
        if low.ndim != 1 or low.shape != high.shape:
            raise ValueError(
                f"low and high must be vectors of the same shape, got {tuple(low.shape)}, {tuple(high.shape)}"
            )
        self.low = low.double()
        self.high = high.double()

    @classmethod
    def fit(cls, transitions: Tensor) -> "MinMaxNormalizer":
        """Compute the bounds of ``transitions``, shape ``(n, D)``."""
        return cls(transitions.amin(0), transitions.amax(0))

    def normalize(self, values: Tensor, dimensions: slice | int = slice(None)) -> Tensor:
        """Map ``values [..., d]`` of the selected dimensions to [0, 1], float32. Values out of bounds are clamped."""
        low, span = self.low[dimensions], self._span(dimensions)
        scaled = (values.double() - low) / torch.where(span > 0, span, 1.0)
        return torch.where(span > 0, scaled, 0.5).clamp(0.0, 1.0).float()

    def denormalize(self, values: Tensor, dimensions: slice | int = slice(None)) -> Tensor:
        """Invert `normalize` for values inside the bounds; the result is float64, shape ``[..., d]``."""
        return self.low[dimensions] + values.double() * self._span(dimensions)

    def count_outside(self, values: Tensor, dimensions: slice | int = slice(None)) -> int:
        """Count the entries of ``values [..., d]`` that `normalize` clamps."""
        values = values.double()
        return int(((values < self.low[dimensions]) | (values > self.high[dimensions])).sum())

    def to(self, device: torch.device | str) -> "MinMaxNormalizer":
        """Return the same normalizer with its bounds on ``device``."""
        return MinMaxNormalizer(self.low.to(device), self.high.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the bounds, float64, as ``{"low": (D,), "high": (D,)}``."""
        return {"low": self.low, "high": self.high}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "MinMaxNormalizer":
        """Restore a normalizer from its `state_dict`."""
        return cls(state["low"], state["high"])

    def _span(self, dimensions: slice | int) -> Tensor:
        return self.high[dimensions] - self.low[dimensions]
