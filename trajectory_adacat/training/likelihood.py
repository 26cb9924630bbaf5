"""The held-out likelihood of a checkpoint, from the log of its training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trajectory_adacat.checkpoint import read_tensors
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.training.logger import read_metrics


def held_out_likelihood(checkpoint: Path, description: Mapping[str, Any], use_ema: bool) -> float | None:
    """Return the negative log-likelihood of held-out data in nats per dimension, in the data's own units.

    The log holds it for values scaled to [0, 1] by the bounds of the training data, which differ between trainings. The
    scaling of a dimension adds the logarithm of its span. A constant dimension has no density in its own units, and
    adds nothing.

    Args:
        checkpoint: folder of a model's checkpoint, in the folder of its training.
        description: what it says of itself.
        use_ema: for the moving average of the weights, not for the weights.

    Returns:
        None if the log is missing or has no such value at the checkpoint's step.

    Raises:
        InputError: if the normalizer is damaged.
    """
    key = f"{'held_out_ema' if use_ema else 'held_out'}/all"
    try:
        lines = read_metrics(checkpoint.parent)
    except (OSError, ValueError):
        return None
    found = [line[key] for line in lines if line["step"] == description["step"] and key in line]
    if not found:
        return None
    normalizer = MinMaxNormalizer.from_state_dict(read_tensors(checkpoint, "normalizer.safetensors", description))
    return found[-1] + _mean_log_span(normalizer, description["model"]["n_transitions"])


def _mean_log_span(normalizer: MinMaxNormalizer, n_transitions: int) -> float:
    """Return the mean logarithm of the spans, weighted by how often a window of transitions predicts each dimension."""
    span = normalizer.high - normalizer.low
    weights = torch.full_like(span, n_transitions)
    weights[0] -= 1.0  # the first token of a window is given
    logarithms = torch.where(span > 0, span, 1.0).log()
    return float((logarithms * weights).sum() / weights.sum())
