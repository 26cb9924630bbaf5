"""The return that the plans promise beside the return that then follows: do they exploit errors of the model?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.datasets.sequences import discounted_values

MAX_TAIL = 0.05  # largest weight of the rewards missing after a cut
SUSPICIOUS_RATIO = 1.15  # of planned to realized return; above it `plan` warns


class Discounting(NamedTuple):
    """How a model's training turned rewards into values.

    Attributes:
        discount: of a step.
        penalty: replaced the reward of a terminal step; None for nothing.
    """

    discount: float
    penalty: float | None


class PlannedReturn(NamedTuple):
    """The planned and the realized discounted return of an episode, both in units of the reward.

    Of the steps at which a search was done, those are compared whose realized return is known: all if the episode
    terminated, and those with ``discount ** steps_left < 0.05`` if it was cut, where ``steps_left`` counts the step
    itself. The training's values lack the rewards after a cut too.

    Attributes:
        planned: mean over the compared steps of the plan's score, which is the model's mean discounted reward over the
            horizon plus the discounted value after it.
        realized: mean over the same steps of the discounted sum of the rewards from the step to the episode's end. The
            training's termination penalty replaces the reward of a terminal step, as in the values learned.
    """

    planned: float
    realized: float

    @property
    def ratio(self) -> float | None:
        """``planned / realized``; None where the realized return is not positive."""
        return self.planned / self.realized if self.realized > 0.0 else None


def compare_returns(
    scores: Mapping[int, float], rewards: Sequence[float], terminated: bool, discounting: Discounting
) -> PlannedReturn | None:
    """Compare the plans of a whole episode with what followed; see `PlannedReturn` for the definitions.

    Args:
        scores: score of each plan by the step, counted from 0, at which it was made.
        rewards: rewards of the environment, ``[T]``.
        terminated: whether the last step was terminal; else the episode was cut.
        discounting: of the model's training.

    Returns:
        The means, or None if no step can be compared.
    """
    realized = realized_returns(rewards, terminated, discounting)
    steps = [step for step in scores if not np.isnan(realized[step])]
    if not steps:
        return None
    return PlannedReturn(float(np.mean([scores[step] for step in steps])), float(realized[steps].mean()))


def realized_returns(rewards: Sequence[float], terminated: bool, discounting: Discounting) -> NDArray[np.float64]:
    """Return the discounted return that followed each step, ``[T]``; NaN where a cut hides too much of it.

    Args:
        rewards: rewards of the environment, ``[T]``.
        terminated: whether the last step was terminal; else the episode was cut.
        discounting: of the model's training, with the penalty that replaces the reward of a terminal step.
    """
    discount, penalty = discounting
    received = np.array(rewards, dtype=np.float64)
    if terminated and penalty is not None:
        received[-1] = penalty
    returns = received + discount * discounted_values(received, discount)
    steps_left = np.arange(len(received), 0, -1)
    return returns if terminated else np.where(discount**steps_left < MAX_TAIL, returns, np.nan)
