"""The optimizers with their decay groups, and the learning rate by tokens."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from trajectory_adacat.errors import InputError

ScheduleEnd = Literal["hold", "rise"]
LOWEST_RATE = 0.1
NOT_DECAYED = ("embedding.", "positions")


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """The settings of AdamW for all parameters (the paper's).

    Raises:
        InputError: for a value out of range.
    """

    learning_rate: float = 6e-4  # AdamW's highest learning rate
    weight_decay: float = 0.1  # weight decay of the matrices
    beta1: float = 0.9  # AdamW's first decay rate
    beta2: float = 0.95  # AdamW's second decay rate

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be finite and above 0, got {self.learning_rate}.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay must be finite and not negative, got {self.weight_decay}.")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class MuonConfig(AdamWConfig):
    """The settings of Muon for the blocks' matrices and AdamW for the other parameters (not the paper's)."""

    muon_learning_rate: float = 0.02  # Muon's highest learning rate

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.muon_learning_rate < math.inf:
            raise InputError(f"muon_learning_rate must be finite and above 0, got {self.muon_learning_rate}.")


OPTIMIZERS: dict[str, type[AdamWConfig]] = {"adamw": AdamWConfig, "muon": MuonConfig}


def make_optimizers(model: nn.Module, config: AdamWConfig) -> list[Optimizer]:
    """Make AdamW for all parameters (the paper's), or Muon for the matrices of the blocks and AdamW for the others.

    Weight decay is for the matrices of linear maps alone, not for embeddings, positions, biases and norms. Muon is
    scaled to the size of AdamW's updates (``match_rms_adamw``). Each group remembers its highest rate as ``top_lr``.
    AdamW's step is fused: one pass over each parameter. Muon goes from matrix to matrix, by products in bfloat16.
    """
    by_muon: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if isinstance(config, MuonConfig) and name.startswith("blocks.") and parameter.ndim == 2:
            by_muon.append(parameter)
        else:
            (decayed if parameter.ndim >= 2 and not name.startswith(NOT_DECAYED) else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimizers: list[Optimizer] = [
        AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    ]
    if isinstance(config, MuonConfig) and by_muon:
        rate, decay = config.muon_learning_rate, config.weight_decay
        optimizers.append(Muon(by_muon, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["top_lr"] = group["lr"]
    return optimizers


def set_rate(optimizers: list[Optimizer], multiplier: float) -> None:
    """Sets each group's rate to its highest times ``multiplier``."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["top_lr"] * multiplier


def optimizer_state(optimizers: list[Optimizer], model: nn.Module) -> dict[str, torch.Tensor]:
    """All state of the optimizers as ``{"<parameter>/<key>": tensor}``."""
    state: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            state |= {f"{name}/{key}": value for key, value in optimizer.state.get(parameter, {}).items()}
    return state


def load_optimizer_state(optimizers: list[Optimizer], model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Takes back what `optimizer_state` gave."""
    for name, parameter in model.named_parameters():
        holder = next(o for o in optimizers if any(parameter is p for g in o.param_groups for p in g["params"]))
        prefix = f"{name}/"
        holder.state[parameter] = {
            key.removeprefix(prefix): value.to(parameter.device)
            for key, value in state.items()
            if key.startswith(prefix)
        }


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
