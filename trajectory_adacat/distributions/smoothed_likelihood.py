"""The smoothed log-likelihood of AdaCat (Equation 8) with an analytic gradient: the hot path of training."""

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trajectory_adacat.distributions.precision import to_compute_dtype
from trajectory_adacat.distributions.smoothing import SmoothingKernel

# Parameters in a chunk. On a CPU a chunk should fit into the cache; a GPU is faster with few, large kernels.
_CHUNK_ON_CPU = 2**20
_CHUNK_ON_GPU = 2**24
# Sums of exponentials within these bounds lose no significant digits, so the largest logit need not be subtracted.
_SAFE_TOTALS = (1e-20, 1e20)


def smoothed_log_likelihood(params: Tensor, kernel: SmoothingKernel) -> Tensor:
    """Compute ``sum_j (F(c_{j + 1}) - F(c_j)) (log h_j - log w_j)``, with ``F`` the kernel's cdf and ``c`` the edges.

    Only the bins that overlap the kernel are evaluated. The gradient is computed in the forward pass, one chunk of rows
    at a time, so it is the only large tensor that is kept. ``benchmarks/distributions.py`` compares time, memory and
    error with automatic differentiation.

    Args:
        params: width logits, then mass logits, ``[..., 2k]``.
        kernel: batch shape ``[...]``, within [0, 1]; receives no gradient.

    Returns:
        ``[...]`` in the compute dtype.
    """
    needs_gradient = torch.is_grad_enabled() and params.requires_grad
    return cast(Tensor, _SmoothedLogLikelihood.apply(params, kernel, needs_gradient))


class _SmoothedLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, params: Tensor, kernel: SmoothingKernel, needs_gradient: bool) -> Tensor:
        rows = params.reshape(-1, params.shape[-1])
        gradient = torch.empty_like(rows) if needs_gradient else None
        result = to_compute_dtype(rows.new_empty(len(rows)))
        size = max(1, (_CHUNK_ON_CPU if rows.device.type == "cpu" else _CHUNK_ON_GPU) // rows.shape[-1])
        for start in range(0, len(rows), size):
            chunk_rows = slice(start, start + size)
            chunk = _Chunk(rows[chunk_rows], kernel.select(chunk_rows))
            result[chunk_rows] = chunk.log_likelihood()
            if gradient is not None:
                gradient[chunk_rows] = chunk.gradient()
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
    """Rows of parameters ``[r, 2k]`` and the ``p`` pairs of a row and a bin that overlaps the row's kernel.

    The pairs are sorted by row, then by bin. Of each row's pairs all but the last have an upper edge inside the kernel:
    the ``e`` crossed edges.

    Notation: edges ``c``, widths ``w``, masses ``h``; the kernel's cdf ``F`` and density ``f``; its mass in a bin
    ``D_j = F(c_{j + 1}) - F(c_j)``; the log-density of a bin ``l_j = log h_j - log w_j``.
    """

    def __init__(self, params: Tensor, kernel: SmoothingKernel) -> None:
        self._exponentials, self._totals, normalizers = _exponentiate(params)  # [r, 2, k], [r, 2], [r, 2]
        scaled_edges = self._exponentials[:, 0].cumsum(dim=-1)  # [r, k], upper edges times the row's total
        start, end = kernel.interval
        self._row, self._bin, last_pair = _overlapping_bins(scaled_edges, start, end)  # [p], [p], [r]
        self._crossed = _all_except(last_pair, len(self._row))  # [e], indices of pairs
        row = self._crossed_row = self._row[self._crossed]
        self._edges = scaled_edges[row, self._bin[self._crossed]] / scaled_edges[row, -1]  # [e], c
        edge_kernel = kernel.select(row)

        upper_cdf = 1 + 0 * start[self._row]  # F at the upper edge of each pair; NaN where the kernel is NaN
        upper_cdf[self._crossed] = edge_kernel.cdf(self._edges)
        lower_cdf = torch.cat((upper_cdf.new_zeros(1), upper_cdf[:-1]))
        lower_cdf[last_pair[:-1] + 1] = 0.0
        self._kernel_mass = upper_cdf - lower_cdf  # [p], D
        self._kernel_density = edge_kernel.log_prob(self._edges).exp()  # [e], f

        width_logits, mass_logits = params.chunk(2, dim=-1)
        pair = self._row, self._bin
        log_density = to_compute_dtype(mass_logits[pair]) - to_compute_dtype(width_logits[pair])
        log_density += (normalizers[:, 0] - normalizers[:, 1])[self._row]
        # A bin without kernel mass contributes nothing, even if its log-density is -inf.
        self._log_density = log_density.masked_fill_(self._kernel_mass == 0, 0.0)  # [p], l

    def _sum_by_row(self, row: Tensor, terms: Tensor) -> Tensor:
        return terms.new_zeros(len(self._totals)).index_add_(0, row, terms)

    def log_likelihood(self) -> Tensor:
        """Return ``sum_j D_j l_j``, ``[r]``."""
        return self._sum_by_row(self._row, self._kernel_mass * self._log_density)

    def gradient(self) -> Tensor:
        """Return the gradient ``[r, 2k]``; overwrites the exponentials.

        The derivative in edge ``c_m`` is ``g_m = f(c_m) (l_{m - 1} - l_m)``. In width logit ``i`` the derivative is
        ``w_i (1 + sum_{m > i} g_m - sum_m g_m c_m) - D_i``, in mass logit ``i`` it is ``D_i - h_i``.
        """
        edge_gradient = self._kernel_density * (self._log_density[self._crossed] - self._log_density[self._crossed + 1])
        # Write the differences of the parenthesis between neighbouring bins, then sum: it falls by g_m at edge m.
        differences = torch.zeros_like(self._exponentials[:, 0])
        differences[:, 0] = 1 + self._sum_by_row(self._crossed_row, edge_gradient * (1 - self._edges))
        differences[self._crossed_row, self._bin[self._crossed] + 1] = -edge_gradient
        gradient = self._exponentials  # reuse the memory
        gradient[:, 0].mul_(differences.cumsum(dim=-1))
        gradient.mul_((gradient.new_tensor([1.0, -1.0]) / self._totals).unsqueeze(-1))
        gradient[self._row, 0, self._bin] -= self._kernel_mass
        gradient[self._row, 1, self._bin] += self._kernel_mass
        return gradient.flatten(start_dim=1)


def _exponentiate(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``exp(logits)`` ``[r, 2, k]`` of ``params`` ``[r, 2k]``, their sums and log normalizers ``[r, 2]``.

    Subtracts the largest logit only if the sums would lose digits. Uses powers of 2, which are several times faster on
    a CPU than powers of e.
    """
    logits = params.unflatten(-1, (2, -1))
    log2_e = to_compute_dtype(params.new_ones(1)) * math.log2(math.e)  # a tensor: promotes products to its dtype
    exponentials = (logits * log2_e).exp2_()
    totals = exponentials.sum(dim=-1)
    smallest, largest = totals.aminmax()
    if smallest > _SAFE_TOTALS[0] and largest < _SAFE_TOTALS[1]:
        return exponentials, totals, totals.log()
    shift = to_compute_dtype(logits.amax(dim=-1))
    exponentials = ((logits - shift.unsqueeze(-1)) * log2_e).exp2_()
    totals = exponentials.sum(dim=-1)
    return exponentials, totals, totals.log() + shift


def _overlapping_bins(scaled_edges: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """List the pairs of a row and a bin that overlaps ``[start, end]`` ``[r]``, sorted by row and bin.

    Args:
        scaled_edges: upper edges ``[r, k]``, each row multiplied by a positive factor.
        start: lower end of each row's interval.
        end: upper end of each row's interval.

    Returns:
        The row and the bin of each pair ``[p]``, and the index of each row's last pair ``[r]``.
    """
    total = scaled_edges[:, -1]
    first = torch.searchsorted(scaled_edges, (start * total).unsqueeze(-1), right=True).squeeze(-1)
    final = torch.searchsorted(scaled_edges, (end * total).unsqueeze(-1)).squeeze(-1)
    first, final = (index.clamp_(max=scaled_edges.shape[-1] - 1) for index in (first, final))
    counts = (final - first + 1).clamp_(min=1)
    pair_end = counts.cumsum(dim=0)
    row = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    position_in_row = torch.arange(len(row), device=counts.device) - (pair_end - counts)[row]
    return row, first[row] + position_in_row, pair_end - 1


def _all_except(excluded: Tensor, count: int) -> Tensor:
    """Return the integers from 0 to ``count - 1`` without ``excluded``."""
    included = torch.ones(count, dtype=torch.bool, device=excluded.device)
    included[excluded] = False
    return included.nonzero().squeeze(-1)
