"""Densities that are constant within each bin: what the adaptive and the fixed bins have in common."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.precision import answer_dtype, working

# Sums of masses reach a threshold within this much: six bins of mass 0.1 hold 0.6 in spite of rounding.
_MASS_TOLERANCE = 1e-12

WithinBin = Literal["uniform", "midpoint"]


def cumulative(log_weights: Tensor) -> Tensor:
    """Normalized partial sums ``[..., k + 1]`` of ``exp(log_weights)`` ``[..., k]``.

    They do not decrease and are exactly 0 and 1 at the ends.

    Division by the last partial sum, not by the softmax's own normalizer, makes the end exact and leaves trailing
    weights of 0 with partial sums of exactly 1, so that a search never lands on them.
    """
    sums = F.pad(log_weights.exp().cumsum(dim=-1), (1, 0))
    return sums / sums[..., -1:]


class PiecewiseConstant(Distribution):
    """A density over ``k`` adjoining bins, constant within each: mass ``h_i`` spread over width ``w_i`` (Equation 1).

    A bin holds its lower edge, the last one both of its edges. Bins without mass are never sampled and have
    log-density -inf. All arithmetic is in float64; results come in the precision of the parameters, at least float32.

    Subclasses provide ``_edges`` ``[..., k + 1]`` and ``_log_widths`` ``[..., k]`` in the working precision, and
    ``_with_mass_logits``.

    Args:
        mass_logits: unnormalized log masses ``[..., k]``; -inf for a bin without mass.
        validate_args: as in ``torch.distributions``.
    """

    has_rsample = True
    _edges: Tensor
    _log_widths: Tensor

    def __init__(self, mass_logits: Tensor, validate_args: bool | None = None) -> None:
        self._mass_logits = mass_logits
        super().__init__(mass_logits.shape[:-1], validate_args=validate_args)

    def _with_mass_logits(self, mass_logits: Tensor) -> Self:
        """The same bins with other masses."""
        raise NotImplementedError

    # -- derived parameters ------------------------------------------------------------------------------------

    @property
    def bins(self) -> int:
        """The number of bins, k."""
        return self._mass_logits.shape[-1]

    @property
    def _dtype(self) -> torch.dtype:
        return answer_dtype(self._mass_logits)

    @lazy_property
    def _log_masses(self) -> Tensor:
        return working(self._mass_logits).log_softmax(dim=-1)  # [..., k]

    @lazy_property
    def _cumulative_masses(self) -> Tensor:
        return cumulative(self._log_masses)  # [..., k + 1]

    @lazy_property
    def _log_density(self) -> Tensor:
        return self._log_masses - self._log_widths  # [..., k]

    @property
    def edges(self) -> Tensor:
        """Edges of the bins ``[..., k + 1]``, non-decreasing."""
        return self._edges.to(self._dtype)

    @property
    def widths(self) -> Tensor:
        """Widths of the bins ``[..., k]``."""
        return self._edges.diff(dim=-1).to(self._dtype)

    @property
    def masses(self) -> Tensor:
        """Masses of the bins ``[..., k]``, summing to 1."""
        return self._log_masses.exp().to(self._dtype)

    @property
    def log_density(self) -> Tensor:
        """Log-density within each bin ``[..., k]``; -inf for a bin without mass."""
        return self._log_density.to(self._dtype)

    # -- densities and quantiles -------------------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at ``value``; -inf outside the support (refused there if arguments are validated), NaN at NaN."""
        if self._validate_args:
            self._validate_sample(value)
        lookup = _Lookup(self._edges, value)
        log_density = lookup.bin(self._log_density)
        low, high = self._edges[..., 0], self._edges[..., -1]
        log_density = log_density.masked_fill((value < low) | (value > high), -torch.inf)
        return log_density.masked_fill(value.isnan(), torch.nan).to(answer_dtype(self._mass_logits, value))

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        lookup = _Lookup(self._edges, value)
        share = lookup.offset() / lookup.bin(self._log_widths.exp())  # of the bin's mass
        result = lookup.bin(self._cumulative_masses) + lookup.bin(self._log_masses.exp()) * share.clamp(0, 1)
        return result.to(answer_dtype(self._mass_logits, value))

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile: where the mass below is ``value``, in [0, 1]. Differentiable in the parameters."""
        lookup = self._quantile_lookup(value)
        share = (lookup.offset() / lookup.bin(self._log_masses.exp())).clamp(0, 1)  # of the bin's width
        low, high = lookup.bin(self._edges), lookup.bin(self._edges, shift=1)
        return (low + share * (high - low)).to(answer_dtype(self._mass_logits, value))

    def icdf_midpoint(self, value: Tensor) -> Tensor:
        """The midpoint of the bin that holds the quantile of ``value``, in [0, 1]."""
        lookup = self._quantile_lookup(value)
        middle = (lookup.bin(self._edges) + lookup.bin(self._edges, shift=1)) / 2
        return middle.masked_fill(value.isnan(), torch.nan).to(answer_dtype(self._mass_logits, value))

    def _quantile_lookup(self, value: Tensor) -> "_Lookup":
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("A quantile's level must lie in [0, 1].")
        return _Lookup(self._cumulative_masses, value)

    def smoothed_log_prob(self, kernel: Distribution) -> Tensor:
        """The expected log-density under ``kernel``, in closed form (Equation 8).

        Args:
            kernel: any distribution with a ``cdf``, its batch shape broadcasting against this one's.
        """
        shape = torch.broadcast_shapes(self.batch_shape, kernel.batch_shape)
        kernel = kernel.expand(shape)
        kernel._validate_args = False  # edges outside the kernel's support are legitimate
        edges = self._edges.expand(*shape, -1).movedim(-1, 0)  # [k + 1, ...]
        shares = kernel.cdf(edges).diff(dim=0).movedim(0, -1)  # [..., k]
        # A bin that the kernel does not meet contributes nothing, also where its log-density is -inf.
        log_density = self._log_density.expand_as(shares).masked_fill(shares == 0, 0.0)
        return (shares * log_density).sum(dim=-1).to(self._dtype)

    # -- summaries ---------------------------------------------------------------------------------------------

    @property
    def _middles(self) -> Tensor:
        return (self._edges[..., :-1] + self._edges[..., 1:]) / 2  # [..., k]

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._log_masses.exp() * self._middles).sum(dim=-1).to(self._dtype)

    @property
    def mode(self) -> Tensor:
        """The midpoint of the densest bin (the first one among equals)."""
        densest = self._log_density.argmax(dim=-1, keepdim=True)
        return self._middles.expand_as(self._log_density).gather(-1, densest).squeeze(-1).to(self._dtype)

    # -- sampling ----------------------------------------------------------------------------------------------

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples with the exact pathwise gradient, by inversion of the cumulative distribution."""
        return self.icdf(self._uniform(sample_shape)).to(self._dtype)

    def sample(self, sample_shape: Sequence[int] = (), within_bin: WithinBin = "uniform") -> Tensor:
        """Samples ``[*sample_shape, *batch_shape]``: a bin by its mass, then a uniform point in it or its midpoint."""
        with torch.no_grad():
            invert = {"uniform": self.icdf, "midpoint": self.icdf_midpoint}[within_bin]
            return invert(self._uniform(sample_shape)).to(self._dtype)

    def _uniform(self, sample_shape: Sequence[int]) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return torch.rand(shape, dtype=self._log_masses.dtype, device=self._log_masses.device)

    # -- filters -----------------------------------------------------------------------------------------------

    def keep_top_bins(self, count: int) -> Self:
        """The ``count`` most massive bins, renormalized; at least one stays."""
        return self._keep(self._ranks() < max(count, 1))

    def drop_bins(self, fraction: float) -> Self:
        """Without this ``fraction`` of the bins by their number, the least massive ones; at least one stays.

        Bins that have no mass to begin with do not count.
        """
        present = (self._log_masses > -torch.inf).sum(dim=-1, keepdim=True)
        dropped = (present * fraction + 1e-9).floor()  # 0.29 of 100 bins is 29 of them, rounding or not
        return self._keep(self._ranks() < (present - dropped).clamp(min=1))

    def keep_top_mass(self, mass: float) -> Self:
        """The fewest most massive bins that together hold at least ``mass``, renormalized; at least one stays."""
        if mass >= 1:
            return self
        masses, order = self._log_masses.exp().sort(dim=-1, descending=True)
        held_before = masses.cumsum(dim=-1) - masses
        keep = held_before < mass - _MASS_TOLERANCE
        keep[..., 0] = True
        return self._keep(torch.zeros_like(keep).scatter(-1, order, keep))

    def _ranks(self) -> Tensor:
        """The rank of each bin by mass ``[..., k]``, 0 being the most massive; no two bins share one."""
        order = self._log_masses.argsort(dim=-1, descending=True, stable=True)
        ranks = torch.arange(self.bins, device=order.device).expand_as(order)
        return torch.empty_like(order).scatter(-1, order, ranks)

    def _keep(self, keep: Tensor) -> Self:
        """Only the bins where ``keep`` ``[..., k]``; the geometry, once computed, is shared."""
        new = self._with_mass_logits(self._mass_logits.masked_fill(~keep, -torch.inf))
        new._edges, new._log_widths = self._edges, self._log_widths
        return new


class _Lookup:
    """The bin of each value among ``boundaries``: ``boundaries[i] <= value < boundaries[i + 1]``, never an empty one.

    Args:
        boundaries: non-decreasing, ``[*batch, k + 1]``.
        value: shape that broadcasts against ``batch``; NaN and values outside the boundaries get some valid index.
    """

    def __init__(self, boundaries: Tensor, value: Tensor) -> None:
        self._batch = boundaries.shape[:-1]
        self._shape = torch.broadcast_shapes(value.shape, self._batch)
        if self._shape[len(self._shape) - len(self._batch) :] != self._batch:  # the batch itself is broadcast
            self._batch = self._shape
        self._value = value.to(boundaries.dtype)
        self._boundaries = boundaries
        rows = self._rows(boundaries)
        # The upper end belongs to the last bin that is not empty.
        last = torch.nextafter(rows[:, -1:], rows[:, :1])
        sought = self._columns(self._value).minimum(last)
        index = torch.searchsorted(rows.detach(), sought.detach(), right=True) - 1
        self._index = index.clamp(0, boundaries.shape[-1] - 2)  # [batch, samples]

    def bin(self, per_bin: Tensor, shift: int = 0) -> Tensor:
        """``per_bin`` ``[*batch, k or k + 1]`` at the bins found, ``shift`` places on: the shape of the values."""
        gathered = self._rows(per_bin).gather(-1, self._index + shift if shift else self._index)
        return gathered.T.reshape(self._shape)

    def offset(self) -> Tensor:
        """How far each value lies above its bin's lower boundary."""
        return self._value - self.bin(self._boundaries)

    def _rows(self, per_bin: Tensor) -> Tensor:
        return per_bin.expand(*self._batch, -1).reshape(-1, per_bin.shape[-1]).contiguous()

    def _columns(self, value: Tensor) -> Tensor:
        return value.expand(self._shape).reshape(-1, self._batch.numel()).T.contiguous()
