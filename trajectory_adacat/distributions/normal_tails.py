"""Masses and quantiles of the standard normal distribution that stay exact far out in its tails."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

# Newton's method for the quantile doubles the correct digits at each step; it starts with more than three.
_NEWTON_STEPS = 5


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """``log(Phi(high) - Phi(low))`` for ``low <= high``, exact in both tails; -inf where they are equal."""
    low, high = torch.broadcast_tensors(low, high)
    right_tail = low > 0
    low, high = torch.where(right_tail, -high, low), torch.where(right_tail, -low, high)  # now low <= 0
    astride = high > 0
    # On both sides of 0 the mass is a sum of two positive parts, in one tail a difference of logarithms.
    around = (torch.erf(high / math.sqrt(2)) - torch.erf(low / math.sqrt(2))) / 2
    log_high, log_low = log_ndtr(torch.where(astride, 0.0, high)), log_ndtr(low)
    ratio = torch.where(astride, 1.0, log_high - log_low)
    in_tail = log_high + log_one_minus_exp(ratio)
    return torch.where(astride, torch.where(astride, around, 1.0).log(), in_tail)


def log_one_minus_exp(value: Tensor) -> Tensor:
    """``log(1 - exp(-value))`` for ``value >= 0``, whose gradient is finite where the value is positive."""
    small = value < math.log(2)
    by_expm1 = (-torch.expm1(-torch.where(small, value, 1.0))).log()
    return torch.where(small, by_expm1, (-(-torch.where(small, 1.0, value)).exp()).log1p())


def log_normal_quantile(log_level: Tensor) -> Tensor:
    """The standard normal quantile of ``exp(log_level)``, for levels up to one half; differentiable."""
    with torch.no_grad():
        near = torch.special.ndtri(log_level.exp())
        far = -(-2 * log_level - (-4 * math.pi * log_level).log()).clamp(min=0).sqrt()  # leading order of the tail
        quantile = torch.where(log_level < -50, far, near)
        for _ in range(_NEWTON_STEPS):
            quantile = quantile - (log_ndtr(quantile) - log_level) / _log_ndtr_slope(quantile)
    correction = (log_ndtr(quantile) - log_level) / _log_ndtr_slope(quantile)
    return torch.where(log_level == -torch.inf, -torch.inf, quantile - correction)


def _log_ndtr_slope(value: Tensor) -> Tensor:
    return (-value.square() / 2 - math.log(2 * math.pi) / 2 - log_ndtr(value)).exp()
