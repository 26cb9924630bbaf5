"""Bins with fixed edges: the uniform and the quantile discretization of Trajectory Transformer."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.piecewise import PiecewiseConstant
from trajectory_adacat.distributions.precision import to_compute_dtype


class FixedBins(PiecewiseConstant):
    """A categorical distribution over bins with fixed ``edges``, uniform within each bin (Section 2.2).

    A bin of zero width is absent: its mass is exactly 0 for any logit, it is never sampled, and its logit gets no
    gradient. Pad rows that have fewer bins by repeating their last edge.

    Args:
        edges: ``[..., N + 1]``, finite and non-decreasing; broadcast against the batch shape of ``logits``.
        logits: unnormalized log masses ``[..., N]``; -inf for a bin without mass.
        validate_args: as in ``torch.distributions``.

    Raises:
        ValueError: if the last dimensions do not match; with validated arguments also if edges decrease or are not
            finite, or if a row has no bin with positive width and mass.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}

    def __init__(self, edges: Tensor, logits: Tensor, validate_args: bool | None = None) -> None:
        if logits.shape[-1:] in ((), (0,)) or edges.shape[-1:] != (logits.shape[-1] + 1,):
            shapes = tuple(edges.shape), tuple(logits.shape)
            raise ValueError(f"edges must end in N + 1 and logits in N >= 1, got shapes {shapes}.")
        batch = torch.broadcast_shapes(edges.shape[:-1], logits.shape[:-1])
        self._input_edges = edges
        self.logits = logits.expand(*batch, -1)
        present = self._input_edges[..., 1:] > self._input_edges[..., :-1]
        super().__init__(self.logits.masked_fill(~present, -torch.inf), validate_args=validate_args)
        if self._validate_args:
            self._check_bins()

    def _check_bins(self) -> None:
        if not bool((self._input_edges.diff(dim=-1) >= 0).all()) or not bool(self._input_edges.isfinite().all()):
            raise ValueError("edges must be finite and non-decreasing.")
        if bool((self._mass_logits == -torch.inf).all(dim=-1).any()):
            raise ValueError("each row needs at least one bin with positive width and mass.")

    @property
    def support(self) -> constraints.Constraint:
        """The interval from the first edge to the last."""
        return constraints.interval(self._edges[..., 0], self._edges[..., -1])

    @lazy_property
    def _edges(self) -> Tensor:
        return to_compute_dtype(self._input_edges)  # [..., N + 1]

    @lazy_property
    def _widths(self) -> Tensor:
        return self._edges.diff(dim=-1)  # [..., N]

    @lazy_property
    def _log_widths(self) -> Tensor:
        # An absent bin has mass 0. A width of 1 makes its log-density -inf, not NaN.
        return self._widths.masked_fill(self._widths == 0, 1.0).log()  # [..., N]

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(FixedBins, _instance)
        FixedBins.__init__(new, self._input_edges, self.logits.expand(*batch_shape, -1), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _with_mass_logits(self, mass_logits: Tensor) -> Self:
        new = type(self)(self._input_edges, mass_logits, validate_args=False)
        new._validate_args = self._validate_args
        return new
