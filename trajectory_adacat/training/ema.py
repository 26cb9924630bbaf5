"""Exponential moving average (EMA) of a model's weights."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Return an EMA of ``model`` (supplementary C.3: decay 0.995); call ``update_parameters(model)`` after each step.

    An update averages all parameters in one fused call.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
