"""Mixture of logistic distributions, continuous or discretized (Salimans et al. 2017): the paper's DMoL baseline."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.precision import result_dtype, to_compute_dtype

_BISECTION_STEPS = 64


class LogisticMixture(Distribution):
    """The mixture ``sum_i softmax(logits)_i Logistic(locs_i, scales_i)`` on the real line.

    For the discretized mixture use ``interval_log_prob`` with intervals that partition the real line: the first one
    starts at -inf, the last one ends at inf.

    Args:
        logits: unnormalized log weights of the ``m`` components, ``[..., m]``.
        locs: locations of the components, ``[..., m]``.
        scales: scales of the components, positive, ``[..., m]``.
        validate_args: as in ``torch.distributions``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.real,
        "locs": constraints.real,
        "scales": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, logits: Tensor, locs: Tensor, scales: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self.locs, self.scales = torch.broadcast_tensors(logits, locs, scales)
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)

    @property
    def _parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.logits, self.locs, self.scales

    @lazy_property
    def _log_weights(self) -> Tensor:
        return to_compute_dtype(self.logits).log_softmax(dim=-1)  # [..., m]

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(LogisticMixture, _instance)
        logits, locs, scales = (parameter.expand(*batch_shape, -1) for parameter in self._parameters)
        LogisticMixture.__init__(new, logits, locs, scales, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _standardize(self, value: Tensor) -> Tensor:
        offset = to_compute_dtype(value).unsqueeze(-1) - to_compute_dtype(self.locs)  # [..., m]
        return offset / to_compute_dtype(self.scales)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob(value).to(result_dtype(*self._parameters, value))

    def _log_prob(self, value: Tensor) -> Tensor:
        standard = self._standardize(value)
        components = F.logsigmoid(standard) + F.logsigmoid(-standard) - to_compute_dtype(self.scales).log()
        return (self._log_weights + components).logsumexp(dim=-1)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the mass below ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._cdf(value).to(result_dtype(*self._parameters, value))

    def _cdf(self, value: Tensor) -> Tensor:
        return (self._log_weights.exp() * self._standardize(value).sigmoid()).sum(dim=-1)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of ``value`` in (0, 1) by bisection between the components' quantiles; differentiable."""
        level = to_compute_dtype(value)
        quantile = self._bisect(level.detach())
        # One Newton step leaves the value unchanged and carries the gradient.
        density = self._log_prob(quantile).exp().detach()
        return (quantile - (self._cdf(quantile) - level) / density).to(result_dtype(*self._parameters, value))

    @torch.no_grad()
    def _bisect(self, level: Tensor) -> Tensor:
        quantiles = to_compute_dtype(self.locs) + to_compute_dtype(self.scales) * level.unsqueeze(-1).logit()
        low, high = quantiles.amin(dim=-1), quantiles.amax(dim=-1)
        for _ in range(_BISECTION_STEPS):
            middle = (low + high) / 2
            is_below = self._cdf(middle) < level
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return (low + high) / 2

    def interval_log_prob(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of the mass in ``[low, high)``; either end may be infinite.

        Uses ``sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))``, which avoids cancellation.

        Args:
            low: lower ends, broadcast against the batch shape.
            high: upper ends, broadcast likewise.
        """
        low, high = torch.broadcast_tensors(to_compute_dtype(low), to_compute_dtype(high))
        below_high, above_low = self._log_sigmoid(high, 1), self._log_sigmoid(low, -1)
        length = (high - low).unsqueeze(-1)
        infinite = length.isinf()
        gap = length.masked_fill(infinite, 1.0) / to_compute_dtype(self.scales)
        log_gap = (-torch.expm1(-gap)).log().masked_fill(infinite, 0.0)
        log_mass = (self._log_weights + below_high + above_low + log_gap).logsumexp(dim=-1)
        return log_mass.to(result_dtype(*self._parameters))

    def _log_sigmoid(self, end: Tensor, sign: int) -> Tensor:
        """Return ``log sigmoid(sign * z)`` of the standardized ``end``; 0 without gradient if ``end`` is infinite."""
        infinite = end.isinf()
        log_sigmoid = F.logsigmoid(sign * self._standardize(end.masked_fill(infinite, 0.0)))
        return log_sigmoid.masked_fill(infinite.unsqueeze(-1), 0.0)

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._log_weights.exp() * to_compute_dtype(self.locs)).sum(dim=-1).to(result_dtype(*self._parameters))

    @property
    def variance(self) -> Tensor:
        """The variance: that of the locations plus that within the components."""
        weights, locs = self._log_weights.exp(), to_compute_dtype(self.locs)
        deviation = locs - (weights * locs).sum(dim=-1, keepdim=True)
        within = to_compute_dtype(self.scales).square() * (math.pi**2 / 3)
        return (weights * (deviation.square() + within)).sum(dim=-1).to(result_dtype(*self._parameters))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples by inverting the cdf; their pathwise gradient is exact."""
        shape = self._extended_shape(torch.Size(sample_shape))
        level = torch.rand(shape, dtype=self._log_weights.dtype, device=self._log_weights.device)
        smallest = torch.finfo(level.dtype).tiny  # the quantile of 0 is infinite
        return self.icdf(level.clamp(min=smallest)).to(result_dtype(*self._parameters))
