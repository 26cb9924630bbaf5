"""How well a critic fits transitions: temporal-difference errors, and values against returns."""

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.critic.losses import q_targets
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.transitions import Batch

MAX_EVALUATION_TRANSITIONS = 1024  # and as many starts of episodes: a hundredth of the training's time


@torch.no_grad()
def evaluate(critic: Critic, split: Batch, starts: Tensor) -> dict[str, float]:
    """Return errors and calibration on at most `MAX_EVALUATION_TRANSITIONS`, evenly spaced over a split.

    ``td_error`` is the root mean square of ``r + discount * V(s') - Q(s, a)``, with the mean of the Q networks.
    ``value`` and ``return`` are the means of V and of the discounted return over the states, and
    ``rank_correlation`` is Spearman's between the two. ``start_`` marks those over the first states of episodes. All
    but the correlations are in the environment's units.

    Args:
        critic: the critic.
        split: the transitions.
        starts: the rows in ``split`` that begin episodes, int64, ``[n]``.
    """
    rows = torch.arange(len(split), device=starts.device)
    batch = split.select(_evenly_spaced(rows))
    errors = q_targets(critic, batch) - critic.q_networks(batch.inputs).mean(0)
    metrics = {"td_error": float(errors.square().mean().sqrt() * critic.scale), **_calibration(critic, batch)}
    if len(starts):
        at_starts = _calibration(critic, split.select(_evenly_spaced(starts)))
        metrics |= {f"start_{name}": value for name, value in at_starts.items()}
    return metrics


def _calibration(critic: Critic, batch: Batch) -> dict[str, float]:
    values = critic.in_units(critic.v_network(batch.observations)[0])
    returns = critic.in_units(batch.returns)
    return {
        "value": float(values.mean()),
        "return": float(returns.mean()),
        "rank_correlation": rank_correlation(values.cpu().numpy(), returns.cpu().numpy()),
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two vectors ``[n]``; 0 where one of them is constant."""
    from scipy.stats import rankdata  # takes a second to import

    centred = [ranks - ranks.mean() for ranks in (rankdata(first), rankdata(second))]
    norm = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / norm if norm > 0.0 else 0.0


def _evenly_spaced(rows: Tensor) -> Tensor:
    n_rows = min(MAX_EVALUATION_TRANSITIONS, len(rows))
    return rows[torch.linspace(0, len(rows) - 1, n_rows, device=rows.device).long()]
