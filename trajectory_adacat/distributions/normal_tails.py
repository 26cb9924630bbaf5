"""Masses and quantiles of the standard normal distribution that stay accurate far in the tails."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

# Newton's method doubles the correct digits in each step. The starting value has more than three.
_NEWTON_STEPS = 5


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """Compute ``log(Phi(high) - Phi(low))`` for ``low <= high``, accurate in both tails; -inf where they are equal."""
    low, high = torch.broadcast_tensors(low, high)
    right_tail = low > 0
    low, high = torch.where(right_tail, -high, low), torch.where(right_tail, -low, high)  # now low <= 0
    spans_zero = high > 0
    # An interval around 0 has a mass of two positive terms. In a tail the mass is a difference of close numbers.
    mass_around_zero = (torch.erf(high / math.sqrt(2)) - torch.erf(low / math.sqrt(2))) / 2
    log_high, log_low = log_ndtr(torch.where(spans_zero, 0.0, high)), log_ndtr(low)
    log_ratio = torch.where(spans_zero, 1.0, log_high - log_low)
    log_tail_mass = log_high + log_one_minus_exp(log_ratio)
    return torch.where(spans_zero, torch.where(spans_zero, mass_around_zero, 1.0).log(), log_tail_mass)


def log_one_minus_exp(value: Tensor) -> Tensor:
    """Compute ``log(1 - exp(-value))`` for ``value >= 0``, with a finite gradient where the value is positive."""
    small = value < math.log(2)
    by_expm1 = (-torch.expm1(-torch.where(small, value, 1.0))).log()
    return torch.where(small, by_expm1, (-(-torch.where(small, 1.0, value)).exp()).log1p())


def log_normal_quantile(log_level: Tensor) -> Tensor:
    """Compute the standard normal quantile of ``exp(log_level)``, for levels up to 0.5; differentiable."""
    with torch.no_grad():
        near = torch.special.ndtri(log_level.exp())
        far = -(-2 * log_level - (-4 * math.pi * log_level).log()).clamp(min=0).sqrt()  # leading order of the tail
        quantile = torch.where(log_level < -50, far, near)
        for _ in range(_NEWTON_STEPS):
            quantile = quantile - (log_ndtr(quantile) - log_level) / _log_ndtr_derivative(quantile)
    # One more step outside of no_grad carries the gradient.
    correction = (log_ndtr(quantile) - log_level) / _log_ndtr_derivative(quantile)
    return torch.where(log_level == -torch.inf, -torch.inf, quantile - correction)


def _log_ndtr_derivative(value: Tensor) -> Tensor:
    return (-value.square() / 2 - math.log(2 * math.pi) / 2 - log_ndtr(value)).exp()
