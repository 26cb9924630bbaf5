"""Scorers: what a candidate of a beam search is worth."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.candidates import Candidates
from trajectory_adacat.settings import check_choices

Aggregate = Literal["min", "mean", "bound"]


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
        """See `Scorer`: ``sum_(i <= step) discount^i r_i + discount^(step + 1) V``."""
        discount = candidates.config.discount ** (candidates.step + 1)
        candidates.sample_reward()
        value = candidates.sample_value()
        return candidates.rewards + discount * value


@dataclass(frozen=True)
class ValueTokensConfig:
    """Score by value tokens; there is nothing to set."""


class ActionValues(Protocol):
    """An ensemble of N functions of state and action."""

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return the discounted returns ``[N, ...]`` after ``actions [..., a]`` in ``observations [..., o]``."""


@dataclass(frozen=True)
class CriticScoringConfig:
    """How an ensemble of critics becomes one score.

    Raises:
        InputError: for a value out of range.
    """

    critic_aggregate: Aggregate = "min"  # of the ensemble: minimum, mean, or a lower bound
    critic_beta: float = 1.0  # bound: the mean less this many standard deviations over the ensemble

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0.0 <= self.critic_beta < math.inf:
            raise InputError(f"critic_beta must be finite and not negative, got {self.critic_beta}.")

    def without_effect(self) -> dict[str, str]:
        """Only a bound has a distance from the mean."""
        return (
            {} if self.critic_aggregate == "bound" else {"critic_beta": f"--critic_aggregate {self.critic_aggregate}"}
        )


Scoring = ValueTokensConfig | CriticScoringConfig
SCORINGS: dict[str, type] = {"values": ValueTokensConfig, "critic": CriticScoringConfig}


class CriticScorer:
    """The rewards before the last action, and what an ensemble of critics says of that action.

    Args:
        critic: the ensemble.
        config: how it becomes one number.
    """

    def __init__(self, critic: ActionValues, config: CriticScoringConfig) -> None:
        self._critic, self._config = critic, config

    def score(self, candidates: Candidates) -> Tensor:
        """See `Scorer`: ``sum_(i < step) discount^i r_i + discount^step Q(s_step, a_step)``."""
        values = self._critic.q(*candidates.states_and_actions())
        return candidates.rewards + candidates.config.discount**candidates.step * self._aggregate(values)

    def _aggregate(self, values: Tensor) -> Tensor:
        """Reduce ``[N, G, R]`` to ``[G, R]``."""
        if self._config.critic_aggregate == "min":
            return values.amin(0)
        mean = values.mean(0)
        if self._config.critic_aggregate == "mean":
            return mean
        return mean - self._config.critic_beta * torch.std(values, dim=0, correction=0)


def make_scorer(config: Scoring, critic: ActionValues | None) -> Scorer:
    """Return the scorer of a planner.

    Raises:
        InputError: if it needs a critic and there is none.
    """
    if isinstance(config, ValueTokensConfig):
        return ValueTokens()
    if critic is None:
        raise InputError("--scoring critic needs a critic: train one with trajectory-adacat critic.")
    return CriticScorer(critic, config)
