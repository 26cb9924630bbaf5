"""Lower bound of the time of a computation: the time of its matrix products alone, in their shapes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.clock import now

Product = tuple[int, int, int, int, torch.dtype]  # batch, rows, inner, columns
MIN_SECONDS = 0.005
KERNELS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
ATTENTION = {f"_scaled_dot_product_{kernel}" for kernel in KERNELS}  # torch's names


class MatrixProducts(TorchDispatchMode):
    """Records the shape of every matrix product while active."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the matrix products of an operation, and run it."""
        with self:  # without autograd, composite operations such as linear arrive whole: decompose them
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name in ("mm", "bmm"):
            self._count(args[0].shape, args[1].shape[-1], args[0].dtype)
        elif name == "addmm":
            self._count(args[1].shape, args[2].shape[-1], args[1].dtype)
        elif name in ATTENTION:
            self._count_attention(args[0], args[1], 1)
        elif name.removesuffix("_backward") in ATTENTION:
            self._count_attention(args[1], args[2], 2)  # two gradients of each product
            self._count((args[1].shape[0] * args[1].shape[1], *args[1].shape[2:]), args[2].shape[2], args[1].dtype)
        return func(*args, **(kwargs or {}))

    def _count(self, shape: Any, columns: int, dtype: torch.dtype) -> None:
        batch = shape[0] if len(shape) == 3 else 1
        self.counts[(batch, shape[-2], shape[-1], columns, dtype)] += 1

    def _count_attention(self, queries: Tensor, keys: Tensor, times: int) -> None:
        batch, heads, rows, size = queries.shape
        for _ in range(times):
            self.counts[(batch * heads, rows, size, keys.shape[2], queries.dtype)] += 1
            self.counts[(batch * heads, rows, keys.shape[2], size, queries.dtype)] += 1

    def rows(self, inner: int, columns: int) -> int:
        """Return the total number of rows multiplied by a matrix of this shape."""
        products = self.counts.items()
        return sum(b * m * count for (b, m, k, n, _), count in products if (k, n) == (inner, columns))

    def seconds(self, device: torch.device | str = "cpu") -> float:
        """Return the total time of all products; each shape is measured alone."""
        return sum(count * time_product(product, device) for product, count in self.counts.items())


def time_product(product: Product, device: torch.device | str = "cpu") -> float:
    """Return the shortest of several timings of one matrix product on ``device``, in seconds."""
    batch, rows, inner, columns, dtype = product
    if min(batch, rows, inner, columns) == 0:
        return 0.0
    a = torch.randn(batch, rows, inner, device=device).to(dtype)
    b = torch.randn(batch, inner, columns, device=device).to(dtype)
    if batch == 1:
        a, b = a[0], b[0]
    with torch.inference_mode():
        return shortest(lambda: torch.matmul(a, b), device)


def shortest(call: Callable[[], object], device: torch.device | str, repeats: int = 3) -> float:
    """Return the shortest mean duration of a call, in seconds, over repeats of at least `MIN_SECONDS`.

    A GPU works through all calls of a repeat before its clock is read.
    """
    call()
    best, n = float("inf"), 1
    while repeats:
        started = now(device)
        for _ in range(n):
            call()
        elapsed = now(device) - started
        if elapsed < MIN_SECONDS:
            n *= 2
            continue
        best, repeats = min(best, elapsed / n), repeats - 1
    return best
