"""Finding the bin that holds a value, for batches of rows of boundaries."""

import torch
from torch import Tensor


class Lookup:
    """The bin of each value among ``boundaries``: ``boundaries[i] <= value < boundaries[i + 1]``, never an empty one.

    The upper end belongs to the last bin that is not empty. NaN and values outside the boundaries get some valid bin.

    Args:
        boundaries: non-decreasing, ``[*batch, k + 1]``.
        value: a shape that broadcasts against ``batch``; leading dimensions beyond it are samples, which share their
            row of boundaries rather than copy it.
    """

    def __init__(self, boundaries: Tensor, value: Tensor) -> None:
        self._batch = boundaries.shape[:-1]
        self._shape = torch.broadcast_shapes(value.shape, self._batch)
        if self._shape[len(self._shape) - len(self._batch) :] != self._batch:  # the batch itself is broadcast
            self._batch = self._shape
        self._value = value.to(boundaries.dtype)
        self._boundaries = boundaries
        rows = self._rows(boundaries).detach()
        below_the_end = torch.nextafter(rows[:, -1:], rows[:, :1])
        sought = self._columns(self._value.detach()).minimum(below_the_end)
        index = torch.searchsorted(rows, sought, right=True) - 1
        self._index = index.clamp(0, boundaries.shape[-1] - 2)  # [batch, samples]

    def at(self, per_bin: Tensor) -> Tensor:
        """``per_bin`` ``[*batch, k]`` at the bins found, in the shape of the values."""
        return self._gather(per_bin, self._index)

    def low(self) -> Tensor:
        """The lower boundaries of the bins found."""
        return self._gather(self._boundaries, self._index)

    def offset(self) -> Tensor:
        """How far each value lies above the lower boundary of its bin."""
        return self._value - self.low()

    def edges(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and the upper one of ``edges`` ``[*batch, k + 1]`` at the bins found."""
        return self._gather(edges, self._index), self._gather(edges, self._index + 1)

    def _gather(self, per_bin: Tensor, index: Tensor) -> Tensor:
        return self._rows(per_bin).gather(-1, index).T.reshape(self._shape)

    def _rows(self, per_bin: Tensor) -> Tensor:
        return per_bin.expand(*self._batch, -1).reshape(-1, per_bin.shape[-1]).contiguous()

    def _columns(self, value: Tensor) -> Tensor:
        samples = self._shape[: len(self._shape) - len(self._batch)].numel()
        return value.expand(self._shape).reshape(samples, self._batch.numel()).T.contiguous()
