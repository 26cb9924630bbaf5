"""Piecewise-constant densities: the base class of adaptive and fixed bins."""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.lookup import BinLookup
from trajectory_adacat.distributions.precision import result_dtype, to_compute_dtype

# Tolerance for sums of masses: six bins of mass 0.1 reach 0.6 despite rounding.
_MASS_TOLERANCE = 1e-12
# Tolerance for numbers of bins: a fraction of 0.29 of 100 bins is 29 bins despite rounding.
_COUNT_TOLERANCE = 1e-6

# Dividing by widths or masses below this would overflow in the gradient. Only bins next to 0 can be so narrow.
_SMALLEST_DIVISOR = 1e-150
# Cached attributes that do not depend on the masses; a distribution passes them on to its filtered copies.
_GEOMETRY = ("_edges", "_widths", "_log_widths")

WithinBin = Literal["uniform", "midpoint"]


def cumulative(weights: Tensor) -> Tensor:
    """Return the normalized cumulative sums ``[..., k + 1]`` of ``weights`` ``[..., k]``.

    They are non-decreasing and exactly 0 and 1 at the ends. Dividing by the last sum, even after a softmax, makes the
    end exact. Trailing weights of 0 then have cumulative sums of exactly 1, so that a search never returns them.
    """
    sums = F.pad(weights.cumsum(dim=-1), (1, 0))
    return sums / sums[..., -1:]


class PiecewiseConstant(Distribution):
    """A density over ``k`` adjacent bins with mass ``h_i``, width ``w_i`` and density ``h_i / w_i`` (Equation 1).

    A bin contains its lower edge; the last bin contains both of its edges. Bins without mass are never sampled and have
    log-density -inf. All arithmetic is in float64. Results have the promoted dtype of the parameters and the argument,
    at least float32.

    Subclasses define ``_with_mass_logits`` and, in the compute dtype, ``_edges`` ``[..., k + 1]``, ``_widths`` and
    ``_log_widths`` ``[..., k]``, whose batch shapes broadcast to that of the masses.

    Args:
        mass_logits: unnormalized log masses ``[..., k]``; -inf for a bin without mass.
        validate_args: as in ``torch.distributions``.
    """

    has_rsample = True
    _edges: Tensor
    _widths: Tensor
    _log_widths: Tensor

    def __init__(self, mass_logits: Tensor, validate_args: bool | None = None) -> None:
        self._mass_logits = mass_logits
        super().__init__(mass_logits.shape[:-1], validate_args=validate_args)

    def _with_mass_logits(self, mass_logits: Tensor) -> Self:
        """Return a distribution with the same bins and these masses."""
        raise NotImplementedError

    # -- derived parameters ------------------------------------------------------------------------------------

    @property
    def bins(self) -> int:
        """The number of bins, k."""
        return self._mass_logits.shape[-1]

    @property
    def _dtype(self) -> torch.dtype:
        return result_dtype(self._mass_logits)

    @lazy_property
    def _log_masses(self) -> Tensor:
        return to_compute_dtype(self._mass_logits).log_softmax(dim=-1)  # [..., k]

    @lazy_property
    def _masses(self) -> Tensor:
        return to_compute_dtype(self._mass_logits).softmax(dim=-1)  # [..., k]

    @lazy_property
    def _cumulative_masses(self) -> Tensor:
        return cumulative(self._masses)  # [..., k + 1]

    @lazy_property
    def _log_density(self) -> Tensor:
        return self._log_masses - self._log_widths  # [..., k]

    @property
    def _batch_edges(self) -> Tensor:
        return self._edges.expand(*self.batch_shape, -1)  # [..., k + 1]

    @property
    def edges(self) -> Tensor:
        """Edges of the bins ``[..., k + 1]``, non-decreasing."""
        return self._batch_edges.to(self._dtype)

    @property
    def widths(self) -> Tensor:
        """Widths of the bins ``[..., k]``."""
        return self._widths.expand(*self.batch_shape, -1).to(self._dtype)

    @property
    def masses(self) -> Tensor:
        """Masses of the bins ``[..., k]``, summing to 1."""
        return self._masses.to(self._dtype)

    @property
    def log_density(self) -> Tensor:
        """Log-density within each bin ``[..., k]``; -inf for a bin without mass."""
        return self._log_density.to(self._dtype)

    def width_at(self, value: Tensor) -> Tensor:
        """Return the width of the bin that holds each ``value``, in the shape to which it broadcasts."""
        found = self._locate(self._edges, value)
        return found.gather(self._widths).to(result_dtype(self._mass_logits, value))

    # -- densities and masses ----------------------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at ``value``: -inf outside the support, NaN at NaN.

        Raises:
            ValueError: outside the support, if arguments are validated.
        """
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob(value).to(result_dtype(self._mass_logits, value))

    def _log_prob(self, value: Tensor) -> Tensor:
        log_density = self._locate(self._edges, value).gather(self._log_density)
        outside = (value < self._edges[..., 0]) | (value > self._edges[..., -1])
        return log_density.masked_fill(outside, -torch.inf).masked_fill(value.isnan(), torch.nan)

    def _locate(self, boundaries: Tensor, value: Tensor) -> BinLookup:
        return BinLookup(boundaries, value.expand(torch.broadcast_shapes(value.shape, self.batch_shape)))

    def cdf(self, value: Tensor) -> Tensor:
        """Return the mass below ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._cdf(value).to(result_dtype(self._mass_logits, value))

    def _cdf(self, value: Tensor) -> Tensor:
        found = self._locate(self._edges, value)
        fraction = found.offset() / found.gather(self._widths).clamp(min=_SMALLEST_DIVISOR)
        below = found.gather(self._cumulative_masses[..., :-1]) + found.gather(self._masses) * fraction.clamp(0, 1)
        return below.masked_fill(value >= self._edges[..., -1], 1.0)

    def interval_log_prob(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of the mass in ``[low, high)``: the likelihood of discrete data (Section 4.2).

        The mass is summed over bins. A difference of two values of ``cdf`` would lose the digits of a small mass.

        Args:
            low: lower ends, broadcast against the batch shape.
            high: upper ends, broadcast likewise; the upper end of the support belongs to the interval that ends there.
        """
        dtype = result_dtype(self._mass_logits, low, high)
        low, high = (to_compute_dtype(end).unsqueeze(-1) for end in torch.broadcast_tensors(low, high))
        lower, upper = self._edges[..., :-1], self._edges[..., 1:]
        overlap = (upper.minimum(high) - lower.maximum(low)).clamp(min=0)  # [..., k]
        width = upper - lower
        # A bin whose edges coincide after rounding is either inside the interval or outside.
        narrow = width < _SMALLEST_DIVISOR
        inside = ((lower >= low) & (lower < high)).to(overlap.dtype)
        fraction = torch.where(narrow, inside, overlap / width.masked_fill(narrow, 1.0))
        log_masses = self._log_masses.masked_fill(fraction == 0, -torch.inf)
        # Factor out the largest mass, so that masses below float64's range have a finite logarithm.
        largest = log_masses.detach().amax(dim=-1, keepdim=True).nan_to_num(nan=torch.nan, neginf=0.0)
        mass = ((log_masses - largest).exp() * fraction).sum(dim=-1)
        log_mass = mass.masked_fill(mass == 0, 1.0).log() + largest.squeeze(-1)
        return log_mass.masked_fill(mass == 0, -torch.inf).to(dtype)

    def smoothed_log_prob(self, kernel: Distribution) -> Tensor:
        """Return the expected log-density under ``kernel``, in closed form (Equation 8).

        Args:
            kernel: any distribution with a ``cdf``; its batch shape broadcasts against this one's.

        Returns:
            The broadcast batch shape, in the dtype of the parameters and at least float32.
        """
        shape = torch.broadcast_shapes(self.batch_shape, kernel.batch_shape)
        kernel = kernel.expand(shape)
        kernel._validate_args = False  # edges may lie outside the kernel's support
        edges = self._edges.expand(*shape, -1).movedim(-1, 0)  # [k + 1, ...]
        kernel_mass = kernel.cdf(edges).diff(dim=0).movedim(0, -1)  # [..., k]
        # A bin without kernel mass contributes nothing, even if its log-density is -inf.
        log_density = self._log_density.expand_as(kernel_mass).masked_fill(kernel_mass == 0, 0.0)
        return (kernel_mass * log_density).sum(dim=-1).to(self._dtype)

    # -- quantiles and samples ---------------------------------------------------------------------------------

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of ``value`` in [0, 1]; differentiable in the parameters.

        Raises:
            ValueError: outside [0, 1], if arguments are validated.
        """
        found = self._locate_quantile(value)
        mass = found.gather(self._masses).clamp(min=_SMALLEST_DIVISOR)
        fraction = (found.offset() / mass).clamp(0, 1)
        low, high = found.gather_edges(self._edges)
        return (low + fraction * (high - low)).to(result_dtype(self._mass_logits, value))

    def icdf_midpoint(self, value: Tensor) -> Tensor:
        """Return the midpoint of the bin that contains the quantile of ``value`` in [0, 1].

        Raises:
            ValueError: outside [0, 1], if arguments are validated.
        """
        low, high = self._locate_quantile(value).gather_edges(self._edges)
        midpoint = ((low + high) / 2).masked_fill(value.isnan(), torch.nan)
        return midpoint.to(result_dtype(self._mass_logits, value))

    def _locate_quantile(self, value: Tensor) -> BinLookup:
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("Quantile levels must lie in [0, 1].")
        return self._locate(self._cumulative_masses, value)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples by inverting the cdf; their pathwise gradient is exact."""
        return self.icdf(self._random_levels(sample_shape)).to(self._dtype)

    def sample(self, sample_shape: Sequence[int] = (), within_bin: WithinBin = "uniform") -> Tensor:
        """Draw ``[*sample_shape, *batch_shape]``: a bin by its mass, then a uniform point in it or its midpoint."""
        with torch.no_grad():
            inverse_cdf = {"uniform": self.icdf, "midpoint": self.icdf_midpoint}[within_bin]
            return inverse_cdf(self._random_levels(sample_shape)).to(self._dtype)

    def _random_levels(self, sample_shape: Sequence[int]) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return torch.rand(shape, dtype=self._masses.dtype, device=self._masses.device)

    # -- summaries ---------------------------------------------------------------------------------------------

    @property
    def _midpoints(self) -> Tensor:
        return (self._edges[..., :-1] + self._edges[..., 1:]) / 2  # [..., k]

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._masses * self._midpoints).sum(dim=-1).to(self._dtype)

    @property
    def variance(self) -> Tensor:
        """The variance: that of the midpoints plus that within the bins."""
        deviation = self._midpoints - (self._masses * self._midpoints).sum(dim=-1, keepdim=True)
        within = self._widths.square() / 12
        return (self._masses * (deviation.square() + within)).sum(dim=-1).to(self._dtype)

    @property
    def mode(self) -> Tensor:
        """The midpoint of the bin with the highest density; the first on ties."""
        densest = self._log_density.argmax(dim=-1, keepdim=True)
        return self._midpoints.expand_as(self._log_density).gather(-1, densest).squeeze(-1).to(self._dtype)

    def entropy(self) -> Tensor:
        """Return the differential entropy ``-sum_i h_i log(h_i / w_i)``, in nats."""
        log_density = self._log_density.masked_fill(self._log_masses == -torch.inf, 0.0)
        return -(self._masses * log_density).sum(dim=-1).to(self._dtype)

    # -- filters -----------------------------------------------------------------------------------------------

    def keep_top_bins(self, count: int) -> Self:
        """Keep the ``count`` bins of largest mass, renormalized; at least one."""
        if count <= 1:  # greedy decoding: five times faster than topk
            top = self._mass_logits.argmax(dim=-1, keepdim=True)
        else:
            top = self._mass_logits.topk(min(count, self.bins), dim=-1, sorted=False).indices
        return self._keep(top, torch.ones_like(top, dtype=torch.bool))

    def drop_bins(self, fraction: float) -> Self:
        """Drop this ``fraction`` of the bins **by number**, those of smallest mass; keep at least one.

        Bins without mass are not counted. ``keep_top_mass`` cuts by probability instead.
        """
        present = (self._mass_logits > -torch.inf).sum(dim=-1, keepdim=True)
        count = (present - (present * fraction + _COUNT_TOLERANCE).floor()).clamp(min=1)
        max_count = self.bins - math.floor(self.bins * fraction + _COUNT_TOLERANCE)  # if all bins have mass
        top = self._mass_logits.topk(max(max_count, 1), dim=-1).indices
        return self._keep(top, torch.arange(top.shape[-1], device=top.device) < count)

    def keep_top_mass(self, mass: float) -> Self:
        """Keep the fewest bins of largest mass that hold at least ``mass`` together, renormalized; at least one."""
        if mass >= 1:
            return self
        masses, order = self._masses.sort(dim=-1, descending=True)
        keep = masses.cumsum(dim=-1) - masses < mass - _MASS_TOLERANCE  # the mass of the larger bins
        keep[..., 0] = True
        return self._keep(order, keep)

    def _keep(self, bins: Tensor, keep: Tensor) -> Self:
        """Keep those of the ``bins`` ``[..., n]`` for which ``keep`` ``[..., n]`` is true."""
        dropped = torch.ones_like(self._mass_logits, dtype=torch.bool).scatter_(-1, bins, ~keep)
        new = self._with_mass_logits(self._mass_logits.masked_fill(dropped, -torch.inf))
        vars(new).update({name: value for name, value in vars(self).items() if name in _GEOMETRY})
        return new
