"""The dtype in which the distributions compute, and the dtype of their results."""

import torch
from torch import Tensor


def to_compute_dtype(tensor: Tensor) -> Tensor:
    """Cast to the dtype of all internal arithmetic: float64, or float32 on a device without float64 (``mps``).

    A bin of width 1e-6 at 0.5 spans 17 representable numbers in float32 and 9e9 in float64. The smoothed likelihood
    divides rounding errors of the edges by the width of the kernel, so float32 would leave three correct digits.
    """
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def result_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the promoted dtype of ``tensors``, at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
