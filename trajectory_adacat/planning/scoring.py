"""Scorers: what a candidate of a beam search is worth."""

from typing import Protocol

from torch import Tensor

from trajectory_adacat.planning.candidates import Candidates


class Scorer(Protocol):
    """Score candidates that have just sampled an action."""

    def score(self, candidates: Candidates) -> Tensor:
        """Return the predicted discounted return of each candidate, in units, ``[G, R]``.

        A scorer may sample the reward and the value of the transition, in this order; the search samples what is
        missing of the chosen candidates.
        """


class ValueTokens:
    """The rewards so far and the value that the model itself predicts (Trajectory Transformer and the paper)."""

    def score(self, candidates: Candidates) -> Tensor:
        """See `Scorer`: ``sum_i discount^i r_i + discount^(step + 1) V``."""
        discount = candidates.config.discount ** (candidates.step + 1)
        candidates.sample_reward()
        value = candidates.sample_value()
        return candidates.rewards + discount * value
