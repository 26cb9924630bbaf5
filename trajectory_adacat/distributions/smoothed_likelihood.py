"""The smoothed log-likelihood of AdaCat (Equation 8) with its gradient: the hot path of training."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trajectory_adacat.distributions.precision import working
from trajectory_adacat.distributions.smoothing import SmoothingKernel

# Parameters handled at a time. On a CPU the working set stays in the cache; a GPU wants few, large launches.
_CHUNK_ON_CPU = 2**18
_CHUNK_ON_GPU = 2**24


def smoothed_log_likelihood(params: Tensor, kernel: SmoothingKernel) -> Tensor:
    """``sum_j (F(c_{j + 1}) - F(c_j)) (log h_j - log w_j)`` over the bins that meet the kernel.

    Values and gradients are those of the plain formula. Beyond one normalization each row costs only the bins that meet
    its kernel, and no memory beyond that of its gradient.

    Args:
        params: width logits, then mass logits, ``[..., 2k]``.
        kernel: batch shape ``[...]``; a constant as far as the gradient is concerned.

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
            width_logits, mass_logits = rows[some].chunk(2, dim=-1)
            chunk = _Chunk(working(width_logits), working(mass_logits), kernel.columns(some))
            result[some] = chunk.log_likelihood()
            if gradient is not None:
                torch.cat((chunk.width_gradient(), chunk.mass_gradient()), dim=-1, out=gradient[some])
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
    """Some rows of parameters ``[r, k]``, and the ``n`` bins, at most, that meet each row's kernel: ``[r, n]``.

    Written with ``c`` for the edges, ``w`` for widths, ``h`` for masses, ``F`` and ``f`` for the kernel's cumulative
    distribution and density, ``D_j = F(c_{j + 1}) - F(c_j)`` for its share in a bin, ``l_j = log h_j - log w_j``.
    """

    def __init__(self, width_logits: Tensor, mass_logits: Tensor, kernel: SmoothingKernel) -> None:
        self._widths, width_normalizer = _exponentiate(width_logits)  # [r, k], up to a factor
        self._sums = self._widths.cumsum(dim=-1)  # [r, k], upper edges up to the same factor
        self._width_total = self._sums[:, -1:]
        self._masses, mass_normalizer = _exponentiate(mass_logits)  # [r, k], up to a factor
        self._mass_total = self._masses.sum(dim=-1, keepdim=True)
        self._bins = self._window(kernel)
        upper = self._sums.gather(-1, self._bins) / self._width_total
        cdf = kernel.cdf(upper)
        self._shares = torch.cat((cdf[:, :1], cdf.diff(dim=-1)), dim=-1)
        log_masses = mass_logits.gather(-1, self._bins) - mass_normalizer - self._mass_total.log()
        log_widths = width_logits.gather(-1, self._bins) - width_normalizer - self._width_total.log()
        # A bin without a share contributes nothing, also where its log-density is -inf.
        self._log_density = (log_masses - log_widths).masked_fill_(self._shares == 0, 0.0)
        self._inner_edges = upper[:, :-1]  # c_m with bins of the window on both sides
        # The support's own end, 1, does not move; beyond the kernel's end only repeated bins follow.
        fixed = (self._inner_edges >= 1) | (self._inner_edges >= kernel.interval[1])
        self._kernel_density = kernel.log_prob(self._inner_edges).exp().masked_fill_(fixed, 0.0)

    def _window(self, kernel: SmoothingKernel) -> Tensor:
        """The bins from the kernel's start to its end; rows with fewer repeat their last ones."""
        start, end = (bound * self._width_total for bound in kernel.interval)
        first = torch.searchsorted(self._sums, start, right=True)
        last = torch.searchsorted(self._sums, end)
        count = int((last - first).amax()) + 1
        window = first + torch.arange(max(count, 1), device=first.device)
        return window.clamp(max=self._sums.shape[-1] - 1)

    def log_likelihood(self) -> Tensor:
        """``sum_j D_j l_j``, ``[r]``."""
        return (self._shares * self._log_density).sum(dim=-1)

    def mass_gradient(self) -> Tensor:
        """``D_i - h_i``, ``[r, k]``."""
        return (self._masses * -self._mass_total.reciprocal()).scatter_add_(-1, self._bins, self._shares)

    def width_gradient(self) -> Tensor:
        """``w_i (1 + sum_{m > i} g_m - sum_m g_m c_m) - D_i`` with ``g_m = f(c_m) (l_{m - 1} - l_m)``, ``[r, k]``."""
        by_edge = self._kernel_density * -self._log_density.diff(dim=-1)  # g_m
        at_first_bin = 1 + by_edge.sum(dim=-1) - (by_edge * self._inner_edges).sum(dim=-1)
        # The bracket falls by g_m from each bin to the next one, across their common edge.
        next_bin = self._bins[:, :-1].add(1).clamp_(max=self._sums.shape[-1] - 1)
        bracket = torch.zeros_like(self._sums).scatter_add_(-1, next_bin, -by_edge)
        bracket[:, 0] += at_first_bin
        bracket = bracket.cumsum(dim=-1).mul_(self._widths).mul_(self._width_total.reciprocal())
        return bracket.scatter_add_(-1, self._bins, -self._shares)


def _exponentiate(logits: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(logits - shift)`` ``[r, k]`` and the ``shift`` ``[r, 1]`` that keeps it in range."""
    shift = logits.amax(dim=-1, keepdim=True)
    return (logits - shift).exp_(), shift
