"""Muon for many small matrices: those of one shape are orthogonalized in one batched product."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Jordan's quintic iteration (https://kellerjordan.github.io/posts/muon/): steep at 0, not exact at 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
RMS_OF_ADAMW = 0.2  # typical RMS of AdamW's updates, which the updates are scaled to (Moonshot, arXiv:2502.16982)


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, its updates scaled to the RMS of AdamW's.

    It does what ``torch.optim.Muon`` does with ``match_rms_adamw``, which updates one matrix at a time with bfloat16
    products: slow for small matrices, and slower still on a CPU without bfloat16 instructions.

    Args:
        params: matrices.
        lr: learning rate.
        weight_decay: decoupled weight decay.
        momentum: decay of the moving average of the gradients.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.1, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all matrices that have a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure.")
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, **{name: group[name] for name in ("lr", "weight_decay", "momentum")})

    def _update(self, parameters: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        """Update matrices of one shape."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self._momentum_buffer(parameter) for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = orthogonalize(torch.stack(torch._foreach_lerp(gradients, buffers, momentum)))
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        scale = RMS_OF_ADAMW * max(parameters[0].shape) ** 0.5
        torch._foreach_add_(parameters, list(updates.unbind()), alpha=-lr * scale)

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalize(matrices: Tensor) -> Tensor:
    """Move the singular values of ``matrices [n, r, c]`` close to 1, between about 0.7 and 1.2, by Newton-Schulz steps.

    A GPU computes in bfloat16; a CPU in the matrices' dtype.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x.bfloat16() if x.device.type == "cuda" else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
