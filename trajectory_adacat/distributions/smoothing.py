"""Smoothing kernels of a training target (Section 3), truncated to the support and renormalized."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from trajectory_adacat.distributions.normal_tails import log_normal_mass, log_normal_quantile
from trajectory_adacat.distributions.precision import result_dtype, to_compute_dtype


class SmoothingKernel(Distribution):
    """A location-scale density truncated to ``[low, high]``.

    ``cdf`` accepts any real number even if arguments are validated, because the edge of a bin may lie anywhere.
    """

    has_rsample = True
    low: Tensor
    high: Tensor
    _parameter_names: ClassVar[tuple[str, ...]]  # in the order of the constructor

    def _map_parameters(self, function: Callable[[Tensor], Tensor], into: Self | None = None) -> Self:
        """Return the kernel with ``function`` applied to every parameter."""
        kernel_type: Any = type(self)
        new: Self = kernel_type.__new__(kernel_type) if into is None else into
        parameters = (function(getattr(self, name)) for name in self._parameter_names)
        kernel_type.__init__(new, *parameters, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """Return the kernel with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(type(self), _instance)
        return self._map_parameters(lambda parameter: parameter.expand(torch.Size(batch_shape)), into=new)

    def select(self, index: slice | Tensor) -> Self:
        """Return the kernels at ``index`` of the flattened batch, ``[r]``."""
        return self._map_parameters(lambda parameter: parameter.reshape(-1)[index])

    @property
    def requires_grad(self) -> bool:
        """Whether any parameter requires a gradient."""
        return any(getattr(self, name).requires_grad for name in self._parameter_names)

    def lies_within(self, low: float, high: float) -> bool:
        """Whether the support of every kernel lies within ``[low, high]``."""
        return bool(((self.low >= low) & (self.high <= high)).all())

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """An interval that contains all of the kernel's mass up to rounding, in the compute dtype."""
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples by inverting the cdf; their pathwise gradient is exact."""
        loc = to_compute_dtype(getattr(self, self._parameter_names[0]))
        level = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=loc.dtype, device=loc.device)
        return self.icdf(level).to(result_dtype(getattr(self, self._parameter_names[0])))


class TruncatedUniform(SmoothingKernel):
    """The uniform kernel ``Unif[loc - width / 2, loc + width / 2)``, truncated to ``[low, high]``.

    ``width`` is the paper's lambda, the full width of the kernel. The released code uses lambda as the half width.

    Args:
        loc: centre, in ``[low, high]``, any shape.
        width: full width before truncation, positive; a number or a tensor that broadcasts.
        low: lower end of the support.
        high: upper end of the support.
        validate_args: as in ``torch.distributions``.
    """

    _parameter_names = ("loc", "width", "low", "high")

    def __init__(
        self,
        loc: Tensor | float,
        width: Tensor | float,
        low: Tensor | float = 0.0,
        high: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.width, self.low, self.high = broadcast_all(loc, width, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """The centre must lie in the support and the width must be positive."""
        return {"loc": constraints.interval(self.low, self.high), "width": constraints.positive}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The interval to which the kernel is truncated."""
        return constraints.interval(self.low, self.high)

    def _extent(self) -> tuple[Tensor, Tensor]:
        """Return how far the kernel extends below and above its centre, without cancellation for narrow kernels."""
        loc, half = to_compute_dtype(self.loc), to_compute_dtype(self.width) / 2
        return half.minimum(loc - to_compute_dtype(self.low)), half.minimum(to_compute_dtype(self.high) - loc)

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The ends of the truncated kernel, in the compute dtype."""
        below, above = self._extent()
        return to_compute_dtype(self.loc) - below, to_compute_dtype(self.loc) + above

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at ``value``; -inf outside the kernel."""
        if self._validate_args:
            self._validate_sample(value)
        below, above = self._extent()
        offset = to_compute_dtype(value) - to_compute_dtype(self.loc)
        log_density = -(below + above).log() + 0 * offset  # NaN at NaN
        outside = (offset < -below) | (offset > above)
        return log_density.masked_fill(outside, -torch.inf).to(result_dtype(self.loc, value))

    def cdf(self, value: Tensor) -> Tensor:
        """Return the mass below ``value``; 0 below the kernel and 1 above it."""
        below, above = self._extent()
        cdf = (to_compute_dtype(value) - to_compute_dtype(self.loc) + below) / (below + above)
        return cdf.clamp(0, 1).to(result_dtype(self.loc, value))

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of ``value`` in [0, 1]."""
        below, above = self._extent()
        quantile = to_compute_dtype(self.loc) - below + to_compute_dtype(value) * (below + above)
        return quantile.to(result_dtype(self.loc, value))

    @property
    def mean(self) -> Tensor:
        """The midpoint of the truncated kernel."""
        below, above = self._extent()
        return (to_compute_dtype(self.loc) + (above - below) / 2).to(result_dtype(self.loc))

    @property
    def variance(self) -> Tensor:
        """The squared length of the truncated kernel over 12."""
        below, above = self._extent()
        return ((below + above).square() / 12).to(result_dtype(self.loc))


class TruncatedNormal(SmoothingKernel):
    """The normal kernel ``N(loc, scale^2)``, truncated to ``[low, high]``.

    ``scale`` is the paper's lambda, the standard deviation before truncation. Results stay accurate if ``loc`` lies at
    an end of the support or many scales outside.

    Args:
        loc: centre before truncation, any shape.
        scale: standard deviation before truncation, positive; a number or a tensor that broadcasts.
        low: lower end of the support.
        high: upper end of the support.
        validate_args: as in ``torch.distributions``.
    """

    _parameter_names = ("loc", "scale", "low", "high")
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    # The mass beyond the points where the density is exp(-34) of its peak is below the resolution of float64.
    _LOG_DENSITY_DROP = 34.0
    _QUADRATURE_POINTS = 96

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float = 0.0,
        high: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The interval to which the kernel is truncated."""
        return constraints.interval(self.low, self.high)

    def _standardize(self, value: Tensor) -> Tensor:
        return (to_compute_dtype(value) - to_compute_dtype(self.loc)) / to_compute_dtype(self.scale)

    @property
    def _log_normalizer(self) -> Tensor:
        return log_normal_mass(self._standardize(self.low), self._standardize(self.high))

    def _peak_and_extent(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the point of highest density, and how many scales the mass extends below and above it."""
        peak = to_compute_dtype(self.loc).maximum(to_compute_dtype(self.low)).minimum(to_compute_dtype(self.high))
        distance = self._standardize(peak).abs()  # from loc in scales; 0 unless loc lies outside the support
        max_extent = (distance.square() + 2 * self._LOG_DENSITY_DROP).sqrt()
        below = (peak - to_compute_dtype(self.low)) / to_compute_dtype(self.scale)
        above = (to_compute_dtype(self.high) - peak) / to_compute_dtype(self.scale)
        return peak, below.minimum(max_extent), above.minimum(max_extent)

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """An interval that contains all of the kernel's mass up to rounding, in the compute dtype."""
        peak, below, above = self._peak_and_extent()
        return peak - below * to_compute_dtype(self.scale), peak + above * to_compute_dtype(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at ``value``; -inf outside ``[low, high]``."""
        if self._validate_args:
            self._validate_sample(value)
        standard = self._standardize(value)
        constant = to_compute_dtype(self.scale).log() + math.log(2 * math.pi) / 2
        log_density = -standard.square() / 2 - constant - self._log_normalizer
        outside = (value < self.low) | (value > self.high)
        return log_density.masked_fill(outside, -torch.inf).to(result_dtype(self.loc, value))

    def cdf(self, value: Tensor) -> Tensor:
        """Return the mass below ``value``; 0 below ``low`` and 1 above ``high``."""
        low, high = self._standardize(self.low), self._standardize(self.high)
        standard = self._standardize(value).minimum(high)
        empty = standard <= low
        log_mass = log_normal_mass(low, torch.where(empty, high, standard))  # its gradient is infinite at mass 0
        mass = (log_mass - self._log_normalizer).exp().masked_fill(empty, 0.0)
        return mass.to(result_dtype(self.loc, value))

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of ``value`` in [0, 1], computed from the lighter tail."""
        level, log_mass = to_compute_dtype(value), self._log_normalizer
        low, high = self._standardize(self.low), self._standardize(self.high)
        below = torch.logaddexp(torch.special.log_ndtr(low), level.log() + log_mass)
        above = torch.logaddexp(torch.special.log_ndtr(-high), (-level).log1p() + log_mass)
        standard = torch.where(below < above, 1.0, -1.0) * log_normal_quantile(torch.minimum(below, above))
        result = to_compute_dtype(self.loc) + to_compute_dtype(self.scale) * standard
        result = result.maximum(to_compute_dtype(self.low)).minimum(to_compute_dtype(self.high))
        return result.to(result_dtype(self.loc, value))

    def _offset_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the peak, and the mean and variance of the offset from it in scales.

        Uses Gauss-Legendre quadrature over the interval that contains the mass. The closed forms suffer from
        cancellation if the kernel is much wider than the support or centred far outside.
        """
        peak, below, above = self._peak_and_extent()
        points, weights = np.polynomial.legendre.leggauss(self._QUADRATURE_POINTS)
        fractions, weight = (peak.new_tensor(numbers) for numbers in ((points + 1) / 2, weights))
        offset = (below + above).unsqueeze(-1) * fractions - below.unsqueeze(-1)  # [..., points]
        exponent = -offset * (self._standardize(peak).unsqueeze(-1) + offset / 2)
        probability = (weight * exponent.exp()) / (weight * exponent.exp()).sum(dim=-1, keepdim=True)
        mean = (probability * offset).sum(dim=-1)
        return peak, mean, (probability * (offset - mean.unsqueeze(-1)).square()).sum(dim=-1)

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        peak, mean, _ = self._offset_moments()
        return (peak + to_compute_dtype(self.scale) * mean).to(result_dtype(self.loc))

    @property
    def variance(self) -> Tensor:
        """The variance after truncation."""
        _, _, variance = self._offset_moments()
        return (to_compute_dtype(self.scale).square() * variance).to(result_dtype(self.loc))
