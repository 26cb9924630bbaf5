"""Exponential moving average (EMA) of a model's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Return an EMA of ``model`` (supplementary C.3: decay 0.995); call ``update_parameters(model)`` after each step.

    It starts at the weights of ``model``. An update averages all parameters in one fused call.
    """

    def average(averages: PARAM_LIST, weights: PARAM_LIST, _: Tensor | int) -> None:
        n_update = int(ema.n_averaged)  # a buffer on the CPU: reading it does not wait for a GPU
        torch._foreach_lerp_(averages, weights, 1.0 - warmed_decay(decay, n_update))

    ema = AveragedModel(model, multi_avg_fn=average)
    ema.n_averaged.fill_(1)  # the weights at the start count as one, so that the first update averages with them
    return ema


def warmed_decay(decay: float, n_update: int) -> float:
    """Return the decay of update ``n_update``, counted from 1: low at first, to forget the random initial weights.

    The formula is that of torch_ema, which the paper's released code uses.
    """
    return min(decay, (1 + n_update) / (10 + n_update))
