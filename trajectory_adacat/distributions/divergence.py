"""Kullback-Leibler divergences of piecewise-constant densities, registered with ``torch.distributions``."""

import torch
from torch import Tensor
from torch.distributions import Uniform, register_kl

from trajectory_adacat.distributions.piecewise import PiecewiseConstant


@register_kl(PiecewiseConstant, Uniform)
def kl_to_uniform(p: PiecewiseConstant, q: Uniform) -> Tensor:
    """``KL(p || q)``: the log of the length of ``q`` less the entropy of ``p``; infinite if ``p`` exceeds ``q``."""
    outside = (p._batch_edges[..., :-1] < q.low.unsqueeze(-1)) | (
        p._batch_edges[..., 1:] > q.high.unsqueeze(-1)
    )  # [..., k]
    exceeds = (outside & (p._log_masses > -torch.inf)).any(dim=-1)
    return ((q.high - q.low).log() - p.entropy()).masked_fill(exceeds, torch.inf)


@register_kl(PiecewiseConstant, PiecewiseConstant)
def kl_between_piecewise(p: PiecewiseConstant, q: PiecewiseConstant) -> Tensor:
    """``KL(p || q)`` in closed form: between two neighbours of the merged edges both densities are constant.

    The masses of ``p`` between the merged edges are differences of its cumulative distribution there, so that a bin of
    ``p`` too narrow for its edges to differ counts with its whole mass. Infinite where ``p`` has mass and ``q`` none.
    """
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    p, q = p.expand(shape), q.expand(shape)
    below_q_edges = p._mass_below(q._batch_edges.movedim(-1, 0)).movedim(0, -1)  # [..., k_q + 1]
    edges = torch.cat((p._batch_edges, q._batch_edges), dim=-1).sort(dim=-1).values  # [..., k_p + k_q + 2]
    below = torch.cat((p._cumulative_masses, below_q_edges), dim=-1).sort(dim=-1).values
    masses = below.diff(dim=-1).movedim(-1, 0)  # [pieces, ...]
    log_p = p._find(p._cumulative_masses, below[..., :-1].movedim(-1, 0)).at(p._log_density)
    log_q = q._log_density_at(edges[..., :-1].movedim(-1, 0))
    ratio = (log_p - log_q).masked_fill(masses == 0, 0.0)
    return (masses * ratio).sum(dim=0).to(torch.promote_types(p._dtype, q._dtype))
