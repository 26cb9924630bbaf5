"""The precision in which the distributions are evaluated, and the one in which they answer."""

import torch
from torch import Tensor


def working(tensor: Tensor) -> Tensor:
    """The tensor in the precision of all inner arithmetic: float64, or float32 on a device that has no float64.

    A bin of width 1e-6 at 0.5 spans 17 representable numbers in float32 and 9e9 in float64, and the smoothed
    likelihood divides errors of the edges by the width of the kernel: float32 would leave it three correct digits.
    """
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def answer_dtype(*tensors: Tensor) -> torch.dtype:
    """The precision of the results: that of the given tensors, and at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
