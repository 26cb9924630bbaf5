"""The likelihood of recorded actions under the policy that took them: what a model of the data can reach at best."""

from collections.abc import Sequence

import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.transition import TransitionSpec


def behavior_action_nll(
    episodes: Sequence[Episode], normalizer: MinMaxNormalizer, spec: TransitionSpec
) -> float | None:
    """Return the mean negative log-likelihood of the actions under the policy that took them.

    In the units of `~trajectory_adacat.training.evaluation.negative_log_likelihoods`, nats per action dimension of
    values scaled to [0, 1]: ``-(mean(log p) + sum_d log(high_d - low_d)) / a``.

    Args:
        episodes: those to evaluate.
        normalizer: scales the transitions.
        spec: layout of a transition.

    Returns:
        The mean over all steps. None without episodes, if one of them does not know its log densities, and if an action
        dimension is constant in the training data, so that it has no scale.
    """
    known = [episode.action_log_probs for episode in episodes if episode.action_log_probs is not None]
    spans = (normalizer.high - normalizer.low)[spec.action].cpu().numpy()
    if not known or len(known) < len(episodes) or (spans == 0.0).any():
        return None
    log_prob = np.concatenate(known).mean(dtype=np.float64)
    return -float(log_prob + np.log(spans).sum()) / spec.action_size
