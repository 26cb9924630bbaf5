"""The smoothed log-likelihood of AdaCat (Equation 8) with its gradient: the hot path of training."""

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trajectory_adacat.distributions.precision import working
from trajectory_adacat.distributions.smoothing import SmoothingKernel

# Parameters handled at a time. On a CPU the working set stays in the cache; a GPU wants few, large launches.
_CHUNK_ON_CPU = 2**20
_CHUNK_ON_GPU = 2**24
# A sum of exponentials between these bounds has lost nothing that counts, in either precision.
_SAFE_TOTALS = (1e-20, 1e20)


def smoothed_log_likelihood(params: Tensor, kernel: SmoothingKernel) -> Tensor:
    """``sum_j (F(c_{j + 1}) - F(c_j)) (log h_j - log w_j)`` over the bins that meet the kernel.

    Values and gradients are those of the plain formula. Beyond two normalizations each row costs only the bins that
    meet its kernel, and no memory but that of the gradient grows with the number of rows.

    Args:
        params: width logits, then mass logits, ``[..., 2k]``.
        kernel: batch shape ``[...]``, within [0, 1]; a constant as far as the gradient is concerned.

    Returns:
        ``[...]`` in the working precision.
    """
    with_gradient = torch.is_grad_enabled() and params.requires_grad
    return cast(Tensor, _SmoothedLogLikelihood.apply(params, kernel, with_gradient))


class _SmoothedLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, params: Tensor, kernel: SmoothingKernel, with_gradient: bool) -> Tensor:
        rows = params.reshape(-1, params.shape[-1])
        gradient = torch.empty_like(rows) if with_gradient else None
        result = working(rows.new_empty(len(rows)))
        size = max(1, (_CHUNK_ON_CPU if rows.device.type == "cpu" else _CHUNK_ON_GPU) // rows.shape[-1])
        for start in range(0, len(rows), size):
            some = slice(start, start + size)
            chunk = _Chunk(rows[some], kernel.rows(some))
            result[some] = chunk.log_likelihood()
            if gradient is not None:
                gradient[some] = chunk.gradient()
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.shape = params.shape
        return result.reshape(params.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream.reshape(-1, 1).to(gradient.dtype)).reshape(ctx.shape), None, None


class _Chunk:
    """Some rows of parameters ``[r, 2k]``, and the ``p`` overlaps of a row's kernel with one of its bins, in order.

    Written with ``c`` for the edges, ``w`` for widths, ``h`` for masses, ``F`` and ``f`` for the kernel's cumulative
    distribution and density, ``D_j = F(c_{j + 1}) - F(c_j)`` for its share in a bin, ``l_j = log h_j - log w_j``.
    """

    def __init__(self, params: Tensor, kernel: SmoothingKernel) -> None:
        self._exponentials, self._totals, normalizers = _exponentiate(params)  # [r, 2, k], [r, 2], [r, 2]
        edges = self._exponentials[:, 0].cumsum(dim=-1)  # [r, k], upper ones, times the total of their row
        start, end = kernel.interval
        self._row, self._bin, last = _meeting_bins(edges, start, end)  # [p], [p], [r]
        self._inner = _all_but(last, len(self._row))  # [e], overlaps that another one of their row follows
        row = self._inner_row = self._row[self._inner]
        self._edges = edges[row, self._bin[self._inner]] / edges[row, -1]  # [e], those between them
        crossing = kernel.rows(row)

        cdf = 1 + 0 * start[self._row]  # at the upper edges; NaN where the kernel is
        cdf[self._inner] = crossing.cdf(self._edges)
        below = torch.cat((cdf.new_zeros(1), cdf[:-1]))
        below[last[:-1] + 1] = 0.0
        self._shares = cdf - below  # [p], D
        self._kernel_density = crossing.log_prob(self._edges).exp()  # [e], f

        width_logits, mass_logits = params.chunk(2, dim=-1)
        log_density = working(mass_logits[self._row, self._bin]) - working(width_logits[self._row, self._bin])
        log_density += (normalizers[:, 0] - normalizers[:, 1])[self._row]
        # A bin without a share contributes nothing, also where its log-density is -inf.
        self._log_density = log_density.masked_fill_(self._shares == 0, 0.0)  # [p], l

    def _sum_by_row(self, row: Tensor, terms: Tensor) -> Tensor:
        return terms.new_zeros(len(self._totals)).index_add_(0, row, terms)

    def log_likelihood(self) -> Tensor:
        """``sum_j D_j l_j``, ``[r]``."""
        return self._sum_by_row(self._row, self._shares * self._log_density)

    def gradient(self) -> Tensor:
        """``[r, 2k]``: in the logits of the widths ``w_i (1 + sum_{m > i} g_m - sum_m g_m c_m) - D_i``.

        Here ``g_m = f(c_m) (l_{m - 1} - l_m)`` is the derivative in an edge. In the logits of the masses ``D_i - h_i``.
        """
        by_edge = self._kernel_density * (self._log_density[self._inner] - self._log_density[self._inner + 1])
        # The bracket falls by g_m from each bin to the next one, across their common edge.
        bracket = torch.zeros_like(self._exponentials[:, 0])
        bracket[:, 0] = 1 + self._sum_by_row(self._inner_row, by_edge * (1 - self._edges))
        bracket[self._inner_row, self._bin[self._inner] + 1] = -by_edge
        gradient = self._exponentials  # from here on its memory is the gradient's
        gradient[:, 0].mul_(bracket.cumsum(dim=-1))
        gradient.mul_((gradient.new_tensor([1.0, -1.0]) / self._totals).unsqueeze(-1))
        gradient[self._row, 0, self._bin] -= self._shares
        gradient[self._row, 1, self._bin] += self._shares
        return gradient.flatten(start_dim=1)


def _exponentiate(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``exp(logits)`` ``[r, 2, k]`` of ``params`` ``[r, 2k]``, scaled if need be, their sums and log normalizers.

    By powers of 2, which are several times faster on a CPU than powers of e.
    """
    logits = params.unflatten(-1, (2, -1))
    exponent = working(params.new_ones(1)) * math.log2(math.e)  # not a number: it brings products to its precision
    exponentials = (logits * exponent).exp2_()
    totals = exponentials.sum(dim=-1)
    lowest, highest = totals.aminmax()
    if lowest > _SAFE_TOTALS[0] and highest < _SAFE_TOTALS[1]:
        return exponentials, totals, totals.log()
    largest = working(logits.amax(dim=-1))
    exponentials = ((logits - largest.unsqueeze(-1)) * exponent).exp2_()
    totals = exponentials.sum(dim=-1)
    return exponentials, totals, totals.log() + largest


def _meeting_bins(edges: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of a row and one of its bins between ``start`` and ``end`` ``[r]``, in order.

    Args:
        edges: upper edges times a factor of each row's own, ``[r, k]``.

    Returns:
        The pairs' rows and bins ``[p]``, and the place of each row's last pair ``[r]``.
    """
    total = edges[:, -1]
    first = torch.searchsorted(edges, (start * total).unsqueeze(-1), right=True).squeeze(-1)
    final = torch.searchsorted(edges, (end * total).unsqueeze(-1)).squeeze(-1)
    first, final = (index.clamp_(max=edges.shape[-1] - 1) for index in (first, final))
    counts = (final - first + 1).clamp_(min=1)
    after = counts.cumsum(dim=0)
    row = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    place_in_row = torch.arange(len(row), device=counts.device) - (after - counts)[row]
    return row, first[row] + place_in_row, after - 1


def _all_but(excluded: Tensor, count: int) -> Tensor:
    """The whole numbers below ``count`` without those ``excluded``."""
    included = torch.ones(count, dtype=torch.bool, device=excluded.device)
    included[excluded] = False
    return included.nonzero().squeeze(-1)
