"""Densities that are constant within each bin: what the adaptive and the fixed bins have in common."""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.lookup import Lookup
from trajectory_adacat.distributions.precision import answer_dtype, working

# Sums of masses reach a threshold within this much: six bins of mass 0.1 hold 0.6 in spite of rounding.
_MASS_TOLERANCE = 1e-12
# A fraction of a number of bins is a whole number within this much: 0.29 of 100 bins is 29 of them.
_COUNT_TOLERANCE = 1e-6

WithinBin = Literal["uniform", "midpoint"]


# Widths and masses below it, which only bins next to 0 can resolve, would overflow in the gradient of a division.
_SMALLEST_DIVISOR = 1e-150
# What belongs to the bins and not to their masses: shared, once computed, by a distribution and its filters.
_GEOMETRY = ("_edges", "_widths", "_log_widths")


def cumulative(weights: Tensor) -> Tensor:
    """Normalized partial sums ``[..., k + 1]`` of ``weights`` ``[..., k]``.

    They do not decrease and are exactly 0 and 1 at the ends. Division by the last partial sum, though a softmax is
    normalized already, makes the end exact and leaves trailing weights of 0 with partial sums of exactly 1, so that a
    search never lands on them.
    """
    sums = F.pad(weights.cumsum(dim=-1), (1, 0))
    return sums / sums[..., -1:]


class PiecewiseConstant(Distribution):
    """A density over ``k`` adjoining bins, constant within each: mass ``h_i`` spread over width ``w_i`` (Equation 1).

    A bin holds its lower edge, the last one both of its edges. Bins without mass are never sampled and have
    log-density -inf. All arithmetic is in float64; results come in the precision of the parameters and the argument, at
    least float32.

    Subclasses provide ``_with_mass_logits`` and, in the working precision, ``_edges`` ``[..., k + 1]``, ``_widths`` and
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
    def _masses(self) -> Tensor:
        return working(self._mass_logits).softmax(dim=-1)  # [..., k]

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

    # -- densities and masses ----------------------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at ``value``; -inf outside the support (refused there if arguments are validated), NaN at NaN."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_density_at(value).to(answer_dtype(self._mass_logits, value))

    def _log_density_at(self, value: Tensor) -> Tensor:
        log_density = self._find(self._edges, value).at(self._log_density)
        outside = (value < self._edges[..., 0]) | (value > self._edges[..., -1])
        return log_density.masked_fill(outside, -torch.inf).masked_fill(value.isnan(), torch.nan)

    def _find(self, boundaries: Tensor, value: Tensor) -> Lookup:
        return Lookup(boundaries, value.expand(torch.broadcast_shapes(value.shape, self.batch_shape)))

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._mass_below(value).to(answer_dtype(self._mass_logits, value))

    def _mass_below(self, value: Tensor) -> Tensor:
        found = self._find(self._edges, value)
        share = found.offset() / found.at(self._widths).clamp(min=_SMALLEST_DIVISOR)  # of the bin's mass
        below = found.at(self._cumulative_masses[..., :-1]) + found.at(self._masses) * share.clamp(0, 1)
        return below.masked_fill(value >= self._edges[..., -1], 1.0)

    def interval_log_prob(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of the mass in ``[low, high)``: the likelihood of discrete data (Section 4.2).

        The mass is summed bin by bin: a difference of two values of ``cdf`` would lose the digits of a small one.

        Args:
            low: lower ends; a shape that broadcasts against the batch shape.
            high: upper ends, likewise; an interval that ends with the support holds that end.
        """
        dtype = answer_dtype(self._mass_logits, low, high)
        low, high = (working(end).unsqueeze(-1) for end in torch.broadcast_tensors(low, high))
        lower, upper = self._edges[..., :-1], self._edges[..., 1:]
        overlap = (upper.minimum(high) - lower.maximum(low)).clamp(min=0)  # [..., k]
        width = upper - lower
        # A bin too narrow for its edges to differ lies in the interval as a whole or not at all.
        narrow = width < _SMALLEST_DIVISOR
        inside = ((lower >= low) & (lower < high)).to(overlap.dtype)
        share = torch.where(narrow, inside, overlap / width.masked_fill(narrow, 1.0))
        log_masses = self._log_masses.masked_fill(share == 0, -torch.inf)
        # The largest mass comes out of the sum, so that masses below float64's range stay finite in the logarithm.
        largest = log_masses.detach().amax(dim=-1, keepdim=True).nan_to_num(nan=torch.nan, neginf=0.0)
        mass = ((log_masses - largest).exp() * share).sum(dim=-1)
        log_mass = mass.masked_fill(mass == 0, 1.0).log() + largest.squeeze(-1)
        return log_mass.masked_fill(mass == 0, -torch.inf).to(dtype)

    def smoothed_log_prob(self, kernel: Distribution) -> Tensor:
        """The expected log-density under ``kernel``, in closed form (Equation 8).

        Args:
            kernel: any distribution with a ``cdf``; its batch shape broadcasts against this one's.

        Returns:
            The joint batch shape, in the precision of the parameters.
        """
        shape = torch.broadcast_shapes(self.batch_shape, kernel.batch_shape)
        kernel = kernel.expand(shape)
        kernel._validate_args = False  # edges outside the kernel's support are legitimate
        edges = self._edges.expand(*shape, -1).movedim(-1, 0)  # [k + 1, ...]
        shares = kernel.cdf(edges).diff(dim=0).movedim(0, -1)  # [..., k]
        # A bin that the kernel does not meet contributes nothing, also where its log-density is -inf.
        log_density = self._log_density.expand_as(shares).masked_fill(shares == 0, 0.0)
        return (shares * log_density).sum(dim=-1).to(self._dtype)

    # -- quantiles and samples ---------------------------------------------------------------------------------

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile: where the mass below is ``value``, in [0, 1]. Differentiable in the parameters."""
        found = self._find_quantile(value)
        mass = found.at(self._masses).clamp(min=_SMALLEST_DIVISOR)
        share = (found.offset() / mass).clamp(0, 1)  # of the bin's width
        low, high = found.edges(self._edges)
        return (low + share * (high - low)).to(answer_dtype(self._mass_logits, value))

    def icdf_midpoint(self, value: Tensor) -> Tensor:
        """The midpoint of the bin that holds the quantile of ``value``, in [0, 1]."""
        low, high = self._find_quantile(value).edges(self._edges)
        middle = ((low + high) / 2).masked_fill(value.isnan(), torch.nan)
        return middle.to(answer_dtype(self._mass_logits, value))

    def _find_quantile(self, value: Tensor) -> Lookup:
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("The level of a quantile must lie in [0, 1].")
        return self._find(self._cumulative_masses, value)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples with the exact pathwise gradient, by inversion of the cumulative distribution."""
        return self.icdf(self._random_levels(sample_shape)).to(self._dtype)

    def sample(self, sample_shape: Sequence[int] = (), within_bin: WithinBin = "uniform") -> Tensor:
        """Samples ``[*sample_shape, *batch_shape]``: a bin by its mass, then a uniform point in it or its midpoint."""
        with torch.no_grad():
            invert = {"uniform": self.icdf, "midpoint": self.icdf_midpoint}[within_bin]
            return invert(self._random_levels(sample_shape)).to(self._dtype)

    def _random_levels(self, sample_shape: Sequence[int]) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return torch.rand(shape, dtype=self._masses.dtype, device=self._masses.device)

    # -- summaries ---------------------------------------------------------------------------------------------

    @property
    def _middles(self) -> Tensor:
        return (self._edges[..., :-1] + self._edges[..., 1:]) / 2  # [..., k]

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._masses * self._middles).sum(dim=-1).to(self._dtype)

    @property
    def variance(self) -> Tensor:
        """The variance between the bins' midpoints and that within the bins."""
        deviation = self._middles - (self._masses * self._middles).sum(dim=-1, keepdim=True)
        within = self._widths.square() / 12
        return (self._masses * (deviation.square() + within)).sum(dim=-1).to(self._dtype)

    @property
    def mode(self) -> Tensor:
        """The midpoint of the densest bin, the first one among equals."""
        densest = self._log_density.argmax(dim=-1, keepdim=True)
        return self._middles.expand_as(self._log_density).gather(-1, densest).squeeze(-1).to(self._dtype)

    def entropy(self) -> Tensor:
        """The differential entropy, ``-sum_i h_i log(h_i / w_i)``, in nats."""
        surprise = self._log_density.masked_fill(self._log_masses == -torch.inf, 0.0)
        return -(self._masses * surprise).sum(dim=-1).to(self._dtype)

    # -- filters -----------------------------------------------------------------------------------------------

    def keep_top_bins(self, count: int) -> Self:
        """The ``count`` most massive bins, renormalized; at least one stays."""
        if count <= 1:  # the planner's greedy tokens: five times faster than topk
            top = self._mass_logits.argmax(dim=-1, keepdim=True)
        else:
            top = self._mass_logits.topk(min(count, self.bins), dim=-1, sorted=False).indices
        return self._keep(top, torch.ones_like(top, dtype=torch.bool))

    def drop_bins(self, fraction: float) -> Self:
        """Without this ``fraction`` of the bins by their number, the least massive ones; at least one stays.

        Bins that have no mass to begin with do not count. Compare ``keep_top_mass``, which cuts by probability.
        """
        present = (self._mass_logits > -torch.inf).sum(dim=-1, keepdim=True)
        count = (present - (present * fraction + _COUNT_TOLERANCE).floor()).clamp(min=1)
        most = self.bins - math.floor(self.bins * fraction + _COUNT_TOLERANCE)  # where all bins are present
        top = self._mass_logits.topk(max(most, 1), dim=-1).indices
        return self._keep(top, torch.arange(top.shape[-1], device=top.device) < count)

    def keep_top_mass(self, mass: float) -> Self:
        """The fewest most massive bins that together hold at least ``mass``, renormalized; at least one stays."""
        if mass >= 1:
            return self
        masses, order = self._masses.sort(dim=-1, descending=True)
        keep = masses.cumsum(dim=-1) - masses < mass - _MASS_TOLERANCE  # what the bins before it hold
        keep[..., 0] = True
        return self._keep(order, keep)

    def _keep(self, bins: Tensor, keep: Tensor) -> Self:
        """Of the ``bins`` ``[..., n]`` those where ``keep`` ``[..., n]``."""
        dropped = torch.ones_like(self._mass_logits, dtype=torch.bool).scatter_(-1, bins, ~keep)
        new = self._with_mass_logits(self._mass_logits.masked_fill(dropped, -torch.inf))
        vars(new).update({name: value for name, value in vars(self).items() if name in _GEOMETRY})
        return new
