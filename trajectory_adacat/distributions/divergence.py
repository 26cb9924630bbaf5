"""Kullback-Leibler divergences of piecewise-constant densities, registered with ``torch.distributions``."""

import torch
from torch import Tensor
from torch.distributions import Uniform, register_kl

from trajectory_adacat.distributions.piecewise import PiecewiseConstant


@register_kl(PiecewiseConstant, Uniform)
def kl_to_uniform(p: PiecewiseConstant, q: Uniform) -> Tensor:
    """Return ``log(q.high - q.low) - entropy(p)``; infinite if ``p`` has mass outside the support of ``q``."""
    low, high = q.low.unsqueeze(-1), q.high.unsqueeze(-1)
    outside = (p._batch_edges[..., :-1] < low) | (p._batch_edges[..., 1:] > high)  # [..., k]
    has_mass_outside = (outside & (p._log_masses > -torch.inf)).any(dim=-1)
    return ((q.high - q.low).log() - p.entropy()).masked_fill(has_mass_outside, torch.inf)


@register_kl(PiecewiseConstant, PiecewiseConstant)
def kl_between_piecewise(p: PiecewiseConstant, q: PiecewiseConstant) -> Tensor:
    """Return ``KL(p || q)`` in closed form; infinite if ``p`` has mass where ``q`` has none.

    Both densities are constant between neighbouring edges of the union of their edges. The masses of ``p`` there are
    differences of its cdf, so that a bin whose edges coincide after rounding keeps its mass.
    """
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    p, q = p.expand(shape), q.expand(shape)
    cdf_at_q_edges = p._cdf(q._batch_edges.movedim(-1, 0)).movedim(0, -1)  # [..., k_q + 1]
    edges = torch.cat((p._batch_edges, q._batch_edges), dim=-1).sort(dim=-1).values  # [..., k_p + k_q + 2]
    cdf = torch.cat((p._cumulative_masses, cdf_at_q_edges), dim=-1).sort(dim=-1).values
    masses = cdf.diff(dim=-1).movedim(-1, 0)  # [pieces, ...]
    log_p = p._locate(p._cumulative_masses, cdf[..., :-1].movedim(-1, 0)).gather(p._log_density)
    log_q = q._log_prob(edges[..., :-1].movedim(-1, 0))
    log_ratio = (log_p - log_q).masked_fill(masses == 0, 0.0)
    return (masses * log_ratio).sum(dim=0).to(torch.promote_types(p._dtype, q._dtype))
