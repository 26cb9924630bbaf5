"""Optimizers with their parameter groups, and the learning rate schedule."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import TokenEmbedding
from trajectory_adacat.models.positions import LearnedPositions, RotaryPositions
from trajectory_adacat.training.muon import Muon

ScheduleEnd = Literal["hold", "rise"]
MIN_LR_FACTOR = 0.1
NOT_DECAYED = (TokenEmbedding, LearnedPositions, RotaryPositions)


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


@dataclass(frozen=True, kw_only=True)
class AdamConfig(AdamWConfig):
    """The settings of Adam, whose weight decay is a penalty on all parameters (the paper's density models)."""


OPTIMIZERS: dict[str, type[AdamWConfig]] = {"adamw": AdamWConfig, "muon": MuonConfig}


def make_optimizers(model: nn.Module, config: AdamWConfig) -> list[Optimizer]:
    """Return AdamW for all parameters (as the paper), or AdamW and Muon, which takes the blocks' matrices, or Adam.

    AdamW decays the weights of linear layers, among them the scalar embedding, and of the head; as in the released
    code, token embeddings, positions, biases and layer norms are not decayed. AdamW and Adam are fused: one pass over
    each parameter. Each parameter group stores its peak learning rate as ``peak_lr``.
    """
    if isinstance(config, AdamConfig):
        betas = (config.beta1, config.beta2)
        adam = Adam(model.parameters(), config.learning_rate, betas, weight_decay=config.weight_decay, fused=True)
        return _with_peaks([adam])
    muon_params: list[nn.Parameter] = []
    decay: list[nn.Parameter] = []
    no_decay: list[nn.Parameter] = []
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(config, MuonConfig) and path.startswith("blocks.") and parameter.ndim == 2:
                muon_params.append(parameter)
            elif parameter.ndim >= 2 and name != "bias" and not isinstance(module, NOT_DECAYED):
                decay.append(parameter)
            else:
                no_decay.append(parameter)
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    betas = (config.beta1, config.beta2)
    optimizers: list[Optimizer] = [AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)]
    if isinstance(config, MuonConfig) and muon_params:
        peak, weight_decay = config.muon_learning_rate, config.weight_decay
        optimizers.append(Muon(muon_params, lr=peak, weight_decay=weight_decay))
    return _with_peaks(optimizers)


def _with_peaks(optimizers: list[Optimizer]) -> list[Optimizer]:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak_lr"] = group["lr"]
    return optimizers


def scale_learning_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set the learning rate of each parameter group to ``factor`` times its peak."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["peak_lr"] * factor


def optimizer_state(optimizers: list[Optimizer], model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of all optimizers as ``{"<parameter>/<key>": tensor}``."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(optimizers: list[Optimizer], model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load the state that `optimizer_state` returned; other keys are ignored.

    Raises:
        ValueError: if a tensor has neither its parameter's shape nor a single number.
    """
    prefixes = {parameter: f"{name}/" for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            prefix = prefixes[parameter]
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            for key, value in own.items():
                if value.shape not in (parameter.shape, ()):
                    raise ValueError(f"{prefix}{key} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in own.items()}


def learning_rate_factor(n_tokens: float, warmup_tokens: float, final_tokens: float, end: ScheduleEnd) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then cosine decay to 0.1 (supplementary C.3).

    Args:
        n_tokens: number of tokens trained on.
        warmup_tokens: end of the warm-up.
        final_tokens: end of the decay.
        end: after the decay, "hold" the factor at 0.1, or let the cosine "rise" again as the paper's released code.
    """
    if n_tokens < warmup_tokens:
        return n_tokens / warmup_tokens
    progress = (n_tokens - warmup_tokens) / max(1.0, final_tokens - warmup_tokens)
    if end == "hold":
        progress = min(progress, 1.0)
    return max(MIN_LR_FACTOR, 0.5 * (1.0 + math.cos(math.pi * progress)))
