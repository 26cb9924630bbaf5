"""Turn torch's networks into those of the files."""

from typing import NamedTuple

import numpy as np
from torch import nn

from benchmarks.baselines.networks import Layer, Network


class Scaling(NamedTuple):
    """What a network's observations are scaled by: ``(observation - mean) / scale``, each ``[o]``."""

    mean: np.ndarray
    scale: np.ndarray


def export(module: nn.Module, scaling: Scaling | None = None) -> Network:
    """Return a module's linear layers; the scaling of its first inputs becomes part of the first layer."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    weights = [layer.weight.detach().double().numpy().T for layer in linear]
    biases = [layer.bias.detach().double().numpy() for layer in linear]
    if scaling is not None:
        size = len(scaling.mean)
        rows = weights[0][:size] / scaling.scale[:, None]
        biases[0] = biases[0] - scaling.mean @ rows
        weights[0] = np.concatenate([rows, weights[0][size:]])
    pairs = zip(weights, biases, strict=True)
    return Network([Layer(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in pairs])
