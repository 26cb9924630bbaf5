"""A mixture of logistic distributions, continuous or discretized (Salimans et al. 2017): the paper's DMoL baseline."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.precision import answer_dtype, working

_BISECTIONS = 64


class LogisticMixture(Distribution):
    """``sum_i softmax(logits)_i Logistic(locs_i, scales_i)`` on the whole line.

    ``interval_log_prob`` over intervals that tile the line, the first from -inf and the last to inf, is the discretized
    mixture.

    Args:
        logits: unnormalized log weights of the components, ``[..., m]``.
        locs: their centres, ``[..., m]``.
        scales: their scales, positive, ``[..., m]``.
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
        return working(self.logits).log_softmax(dim=-1)  # [..., m]

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(LogisticMixture, _instance)
        logits, locs, scales = (parameter.expand(*batch_shape, -1) for parameter in self._parameters)
        LogisticMixture.__init__(new, logits, locs, scales, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _standardize(self, value: Tensor) -> Tensor:
        return (working(value).unsqueeze(-1) - working(self.locs)) / working(self.scales)  # [..., m]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_density_at(value).to(answer_dtype(*self._parameters, value))

    def _log_density_at(self, value: Tensor) -> Tensor:
        standard = self._standardize(value)
        components = F.logsigmoid(standard) + F.logsigmoid(-standard) - working(self.scales).log()
        return (self._log_weights + components).logsumexp(dim=-1)

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self._mass_below(value).to(answer_dtype(*self._parameters, value))

    def _mass_below(self, value: Tensor) -> Tensor:
        return (self._log_weights.exp() * self._standardize(value).sigmoid()).sum(dim=-1)

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile of ``value``, in (0, 1): by bisection between the components' own quantiles. Differentiable."""
        level = working(value)
        quantile = self._bisect(level.detach())
        # One step of Newton's method: it leaves the value where it is and carries the gradient.
        slope = self._log_density_at(quantile).exp().detach()
        return (quantile - (self._mass_below(quantile) - level) / slope).to(answer_dtype(*self._parameters, value))

    @torch.no_grad()
    def _bisect(self, level: Tensor) -> Tensor:
        quantiles = working(self.locs) + working(self.scales) * level.unsqueeze(-1).logit()
        low, high = quantiles.amin(dim=-1), quantiles.amax(dim=-1)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self._mass_below(middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def interval_log_prob(self, low: Tensor, high: Tensor) -> Tensor:
        """Log of the mass in ``[low, high)``; either end may be infinite.

        By ``sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))``, in which nothing cancels.

        Args:
            low: lower ends; a shape that broadcasts against the batch shape.
            high: upper ends, likewise.
        """
        low, high = torch.broadcast_tensors(working(low), working(high))
        below_high, above_low = self._log_sigmoid(high, 1), self._log_sigmoid(low, -1)
        length = (high - low).unsqueeze(-1)
        infinite = length.isinf()
        gap = length.masked_fill(infinite, 1.0) / working(self.scales)
        log_gap = (-torch.expm1(-gap)).log().masked_fill(infinite, 0.0)
        log_mass = (self._log_weights + below_high + above_low + log_gap).logsumexp(dim=-1)
        return log_mass.to(answer_dtype(*self._parameters))

    def _log_sigmoid(self, end: Tensor, sign: int) -> Tensor:
        """``log sigmoid(sign z)`` of the standardized ``end``; 0 with no gradient where it is infinite."""
        infinite = end.isinf()
        return F.logsigmoid(sign * self._standardize(end.masked_fill(infinite, 0.0))).masked_fill(
            infinite.unsqueeze(-1), 0.0
        )

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._log_weights.exp() * working(self.locs)).sum(dim=-1).to(answer_dtype(*self._parameters))

    @property
    def variance(self) -> Tensor:
        """The variance between the components' centres and that within the components."""
        weights, locs = self._log_weights.exp(), working(self.locs)
        deviation = locs - (weights * locs).sum(dim=-1, keepdim=True)
        within = working(self.scales).square() * (math.pi**2 / 3)
        return (weights * (deviation.square() + within)).sum(dim=-1).to(answer_dtype(*self._parameters))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples with the exact pathwise gradient, by inversion of the cumulative distribution."""
        shape = self._extended_shape(torch.Size(sample_shape))
        level = torch.rand(shape, dtype=self._log_weights.dtype, device=self._log_weights.device)
        smallest = torch.finfo(level.dtype).tiny  # the quantile of 0 is infinite
        return self.icdf(level.clamp(min=smallest)).to(answer_dtype(*self._parameters))
