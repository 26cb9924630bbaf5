"""The exponential moving average of a model's weights."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """A moving average of ``model``, updated by ``update_parameters(model)`` (supplementary C.3: decay 0.995).

    All parameters are averaged in one call.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
