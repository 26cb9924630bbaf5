"""Finding the bin that holds a value, for batches of rows of boundaries."""

import torch
from torch import Tensor


class Lookup:
    """The bin of each value among ``boundaries``: ``boundaries[i] <= value < boundaries[i + 1]``, never an empty one.

    The upper end belongs to the last bin that is not empty. NaN and values outside the boundaries get some valid bin.

    Rows of boundaries, or of numbers for each bin, are shared, not copied, by the values that they have in common.

    Args:
        boundaries: non-decreasing, ``[..., k + 1]``; all dimensions but the last broadcast to those of ``value``.
        value: any shape.
    """

    def __init__(self, boundaries: Tensor, value: Tensor) -> None:
        self._value = value.to(boundaries.dtype)
        self._boundaries = boundaries
        rows = self._rows(boundaries).detach()
        below_the_end = torch.nextafter(rows[:, -1:], rows[:, :1])
        sought = self._by_row(self._value.detach(), len(rows)).minimum(below_the_end)
        index = torch.searchsorted(rows, sought, right=True) - 1
        self._index = self._as_value(index.clamp(0, boundaries.shape[-1] - 2))

    def at(self, per_bin: Tensor) -> Tensor:
        """``per_bin`` ``[..., k]`` at the bins found, in the shape of the values."""
        return self._gather(per_bin, self._index)

    def offset(self) -> Tensor:
        """How far each value lies above the lower boundary of its bin."""
        return self._value - self._gather(self._boundaries, self._index)

    def edges(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and the upper one of ``edges`` ``[..., k + 1]`` at the bins found."""
        return self._gather(edges, self._index), self._gather(edges, self._index + 1)

    def _gather(self, per_bin: Tensor, index: Tensor) -> Tensor:
        rows = self._rows(per_bin)
        return self._as_value(rows.gather(-1, self._by_row(index, len(rows))))

    def _rows(self, per_bin: Tensor) -> Tensor:
        """``[rows, k]``: as they are if theirs are the last dimensions of the values, else one for each value."""
        shape, batch = self._value.shape, per_bin.shape[:-1]
        if shape[len(shape) - len(batch) :] != batch:
            per_bin = per_bin.expand(*shape, -1)
        return per_bin.reshape(-1, per_bin.shape[-1]).contiguous()

    def _by_row(self, values: Tensor, rows: int) -> Tensor:
        """From the shape of the values to ``[rows, samples]``."""
        return values.reshape(values.numel() // max(rows, 1), rows).T.contiguous()

    def _as_value(self, by_row: Tensor) -> Tensor:
        return by_row.T.reshape(self._value.shape)
