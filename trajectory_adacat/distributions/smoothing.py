"""Kernels that smooth a training target (Section 3), truncated to the support and renormalized."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from trajectory_adacat.distributions.normal_tails import log_normal_mass, log_normal_quantile
from trajectory_adacat.distributions.precision import answer_dtype, working


class SmoothingKernel(Distribution):
    """A location-scale density truncated to ``[low, high]``.

    Values of ``cdf`` are defined on the whole line, also where arguments are validated: an edge may lie anywhere.
    """

    has_rsample = True
    low: Tensor
    high: Tensor
    _names: ClassVar[tuple[str, ...]]  # the parameters, in the order of the constructor

    def _map(self, change: Callable[[Tensor], Tensor], into: Self | None = None) -> Self:
        """The kernel with every parameter changed."""
        kernel_type: Any = type(self)
        new: Self = kernel_type.__new__(kernel_type) if into is None else into
        kernel_type.__init__(new, *(change(getattr(self, name)) for name in self._names), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """The same kernel with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(type(self), _instance)
        return self._map(lambda parameter: parameter.expand(torch.Size(batch_shape)), into=new)

    def rows(self, rows: slice | Tensor) -> Self:
        """The kernels at these places of the flattened batch, ``[r]``."""
        return self._map(lambda parameter: parameter.reshape(-1)[rows])

    @property
    def requires_grad(self) -> bool:
        """Whether any parameter asks for a gradient."""
        return any(getattr(self, name).requires_grad for name in self._names)

    def lies_within(self, low: float, high: float) -> bool:
        """Whether every kernel is truncated to a part of ``[low, high]``."""
        return bool(((self.low >= low) & (self.high <= high)).all())

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """Two points between which all of the kernel's mass lies, to the rounding, in the working precision."""
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples with the exact pathwise gradient, by inversion of the cumulative distribution."""
        loc = working(getattr(self, self._names[0]))
        level = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=loc.dtype, device=loc.device)
        return self.icdf(level).to(answer_dtype(getattr(self, self._names[0])))


class TruncatedUniform(SmoothingKernel):
    """The uniform kernel ``Unif[loc - width / 2, loc + width / 2)``, truncated to ``[low, high]``.

    ``width`` is the paper's lambda, the full width of the kernel; code in circulation takes lambda as the half width.

    Args:
        loc: centre, in ``[low, high]``, any shape.
        width: full width before truncation, positive; a number or a tensor that broadcasts.
        low: lower end of the support.
        high: upper end of the support.
        validate_args: as in ``torch.distributions``.
    """

    _names = ("loc", "width", "low", "high")

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
        """The centre lies in the support and the width is positive."""
        return {"loc": constraints.interval(self.low, self.high), "width": constraints.positive}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The interval to which the kernel is truncated."""
        return constraints.interval(self.low, self.high)

    def _reach(self) -> tuple[Tensor, Tensor]:
        """How far the kernel reaches below and above its centre: exact where differences of its ends would cancel."""
        loc, half = working(self.loc), working(self.width) / 2
        return half.minimum(loc - working(self.low)), half.minimum(working(self.high) - loc)

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The two ends of the kernel after truncation, in the working precision."""
        below, above = self._reach()
        return working(self.loc) - below, working(self.loc) + above

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at ``value``; -inf outside the kernel."""
        if self._validate_args:
            self._validate_sample(value)
        below, above = self._reach()
        offset = working(value) - working(self.loc)
        log_density = -(below + above).log() + 0 * offset  # NaN at NaN
        return log_density.masked_fill((offset < -below) | (offset > above), -torch.inf).to(
            answer_dtype(self.loc, value)
        )

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``; 0 below the kernel and 1 above it."""
        below, above = self._reach()
        share = (working(value) - working(self.loc) + below) / (below + above)
        return share.clamp(0, 1).to(answer_dtype(self.loc, value))

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile of ``value`` in [0, 1]."""
        below, above = self._reach()
        return (working(self.loc) - below + working(value) * (below + above)).to(answer_dtype(self.loc, value))

    @property
    def mean(self) -> Tensor:
        """The middle of the truncated kernel."""
        below, above = self._reach()
        return (working(self.loc) + (above - below) / 2).to(answer_dtype(self.loc))

    @property
    def variance(self) -> Tensor:
        """A twelfth of the squared length of the truncated kernel."""
        below, above = self._reach()
        return ((below + above).square() / 12).to(answer_dtype(self.loc))


class TruncatedNormal(SmoothingKernel):
    """The normal kernel ``N(loc, scale^2)``, truncated to ``[low, high]``.

    ``scale``, the standard deviation before truncation, is the paper's lambda. All is exact also where ``loc`` lies at
    an end of the support, or many scales beyond it.

    Args:
        loc: centre before truncation, any shape.
        scale: standard deviation before truncation, positive; a number or a tensor that broadcasts.
        low: lower end of the support.
        high: upper end of the support.
        validate_args: as in ``torch.distributions``.
    """

    _names = ("loc", "scale", "low", "high")
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    # Beyond the points where the density has fallen by exp(-34) lies less mass than float64 resolves.
    _FALL = 34.0
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
        return (working(value) - working(self.loc)) / working(self.scale)

    @property
    def _log_normalizer(self) -> Tensor:
        return log_normal_mass(self._standardize(self.low), self._standardize(self.high))

    def _peak_and_reach(self) -> tuple[Tensor, Tensor, Tensor]:
        """The densest point, and how many scales below and above it all the mass lies."""
        peak = working(self.loc).maximum(working(self.low)).minimum(working(self.high))
        distance = self._standardize(peak).abs()  # of the peak from loc, in scales; 0 unless loc lies outside
        extent = (distance.square() + 2 * self._FALL).sqrt()
        below = (peak - working(self.low)) / working(self.scale)
        above = (working(self.high) - peak) / working(self.scale)
        return peak, below.minimum(extent), above.minimum(extent)

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """Two points between which all of the kernel's mass lies, to the rounding, in the working precision."""
        peak, below, above = self._peak_and_reach()
        return peak - below * working(self.scale), peak + above * working(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at ``value``; -inf outside ``[low, high]``."""
        if self._validate_args:
            self._validate_sample(value)
        standard = self._standardize(value)
        constant = working(self.scale).log() + math.log(2 * math.pi) / 2
        log_density = -standard.square() / 2 - constant - self._log_normalizer
        outside = (value < self.low) | (value > self.high)
        return log_density.masked_fill(outside, -torch.inf).to(answer_dtype(self.loc, value))

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``; 0 below ``low`` and 1 above ``high``."""
        low, high = self._standardize(self.low), self._standardize(self.high)
        standard = self._standardize(value).minimum(high)
        empty = standard <= low
        log_mass = log_normal_mass(low, torch.where(empty, high, standard))  # whose gradient is infinite at no mass
        mass = (log_mass - self._log_normalizer).exp().masked_fill(empty, 0.0)
        return mass.to(answer_dtype(self.loc, value))

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile of ``value`` in [0, 1], from whichever tail of the normal is the lighter one."""
        level, log_mass = working(value), self._log_normalizer
        low, high = self._standardize(self.low), self._standardize(self.high)
        below = torch.logaddexp(torch.special.log_ndtr(low), level.log() + log_mass)
        above = torch.logaddexp(torch.special.log_ndtr(-high), (-level).log1p() + log_mass)
        standard = torch.where(below < above, 1.0, -1.0) * log_normal_quantile(torch.minimum(below, above))
        result = working(self.loc) + working(self.scale) * standard
        result = result.maximum(working(self.low)).minimum(working(self.high))
        return result.to(answer_dtype(self.loc, value))

    def _offset_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The peak, and the mean and variance of the distance from it in scales.

        By Gauss-Legendre quadrature over the interval that holds the mass: the closed forms subtract numbers that agree
        in most of their digits when the kernel is much wider than the support or centred far outside of it.
        """
        peak, below, above = self._peak_and_reach()
        points, weights = np.polynomial.legendre.leggauss(self._QUADRATURE_POINTS)
        shares, weight = (peak.new_tensor(numbers) for numbers in ((points + 1) / 2, weights))
        offset = (below + above).unsqueeze(-1) * shares - below.unsqueeze(-1)  # [..., points]
        exponent = -offset * (self._standardize(peak).unsqueeze(-1) + offset / 2)
        probability = (weight * exponent.exp()) / (weight * exponent.exp()).sum(dim=-1, keepdim=True)
        mean = (probability * offset).sum(dim=-1)
        return peak, mean, (probability * (offset - mean.unsqueeze(-1)).square()).sum(dim=-1)

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        peak, mean, _ = self._offset_moments()
        return (peak + working(self.scale) * mean).to(answer_dtype(self.loc))

    @property
    def variance(self) -> Tensor:
        """The variance after truncation."""
        _, _, variance = self._offset_moments()
        return (working(self.scale).square() * variance).to(answer_dtype(self.loc))
