"""Find the bin that contains a value, for batches of rows of boundaries."""

import torch
from torch import Tensor


class BinLookup:
    """The index ``i`` of each value with ``boundaries[i] <= value < boundaries[i + 1]``; never an empty bin.

    The last boundary belongs to the last non-empty bin. NaN and values outside the boundaries get some valid bin.
    Values that share a row of boundaries do not copy it.

    Args:
        boundaries: non-decreasing, ``[..., k + 1]``; all dimensions but the last broadcast to those of ``value``.
        value: any shape.
    """

    def __init__(self, boundaries: Tensor, value: Tensor) -> None:
        self._value = value.to(boundaries.dtype)
        self._boundaries = boundaries
        rows = self._flatten_rows(boundaries).detach()
        largest_inside = torch.nextafter(rows[:, -1:], rows[:, :1])  # puts the last boundary into the last bin
        queries = self._group_by_row(self._value.detach(), len(rows)).minimum(largest_inside)
        index = torch.searchsorted(rows, queries, right=True) - 1
        self._index = self._ungroup(index.clamp(0, boundaries.shape[-1] - 2))

    def gather(self, per_bin: Tensor) -> Tensor:
        """Return ``per_bin`` ``[..., k]`` at each value's bin, in the shape of the values."""
        return self._gather(per_bin, self._index)

    def offset(self) -> Tensor:
        """Return the distance of each value from the lower boundary of its bin."""
        return self._value - self._gather(self._boundaries, self._index)

    def gather_edges(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper of ``edges`` ``[..., k + 1]`` of each value's bin."""
        return self._gather(edges, self._index), self._gather(edges, self._index + 1)

    def _gather(self, per_bin: Tensor, index: Tensor) -> Tensor:
        rows = self._flatten_rows(per_bin)
        return self._ungroup(rows.gather(-1, self._group_by_row(index, len(rows))))

    def _flatten_rows(self, per_bin: Tensor) -> Tensor:
        """Return ``[rows, k]``, with one row per value unless the batch shape ends the shape of the values."""
        shape, batch = self._value.shape, per_bin.shape[:-1]
        if shape[len(shape) - len(batch) :] != batch:
            per_bin = per_bin.expand(*shape, -1)
        return per_bin.reshape(-1, per_bin.shape[-1]).contiguous()

    def _group_by_row(self, values: Tensor, rows: int) -> Tensor:
        """Reshape from the shape of the values to ``[rows, samples]``."""
        if values.numel() == rows:
            return values.reshape(rows, 1)
        return values.reshape(values.numel() // max(rows, 1), rows).T.contiguous()

    def _ungroup(self, by_row: Tensor) -> Tensor:
        """Reshape from ``[rows, samples]`` to the shape of the values."""
        if by_row.shape[1] == 1:
            return by_row.reshape(self._value.shape)
        return by_row.T.reshape(self._value.shape)
