"""AdamW with decay groups, and the learning rate by tokens."""

import math
from typing import Literal

import torch
from torch import nn

ScheduleEnd = Literal["hold", "rise"]
LOWEST_RATE = 0.1


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups: decay for the matrices of linear maps, none for embeddings, positions, biases and norms."""
    exempt = ("embedding.", "positions")
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim >= 2 and not name.startswith(exempt) else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_optimizer(
    model: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW in its fused form."""
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr=learning_rate, betas=betas, fused=True)


def rate_multiplier(n_tokens: int, warmup_tokens: float, final_tokens: float, end: ScheduleEnd) -> float:
    """The factor on the learning rate: linear warm-up, then a cosine down to a tenth (supplementary C.3).

    Args:
        n_tokens: tokens seen so far.
        warmup_tokens: where the warm-up ends.
        final_tokens: where the cosine reaches its lowest point.
        end: afterwards "hold" the tenth, or let the cosine "rise" again, as the code released with the paper does.
    """
    if n_tokens < warmup_tokens:
        return n_tokens / warmup_tokens
    progress = (n_tokens - warmup_tokens) / max(1.0, final_tokens - warmup_tokens)
    if end == "hold":
        progress = min(progress, 1.0)
    return max(LOWEST_RATE, 0.5 * (1.0 + math.cos(math.pi * progress)))
