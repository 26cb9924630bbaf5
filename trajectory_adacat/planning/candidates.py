"""The candidates of a beam search: what they sample, in which order, and what they have earned so far."""

from typing import Literal

import torch
from torch import Tensor

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.distributions import PiecewiseConstant
from trajectory_adacat.planning.decoding import Decoder
from trajectory_adacat.planning.search_config import BeamSearchConfig, Sampling
from trajectory_adacat.transition import TransitionSpec


def keep_likely(distribution: PiecewiseConstant, k: int | None, cdf: float, drop: float) -> PiecewiseConstant:
    """Apply the cutoffs that are set. All of them rank bins by mass."""
    if k is not None:
        distribution = distribution.keep_top_bins(k)
    if drop > 0.0:
        distribution = distribution.drop_bins(drop)
    if cdf > 0.0:
        distribution = distribution.keep_top_mass(1.0 - cdf)
    return distribution


def draw(distribution: PiecewiseConstant, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Sample each distribution by inverting its cdf at ``uniforms``, of the same shape."""
    if sampling == "mean":
        return distribution.mean
    return distribution.icdf(uniforms) if sampling == "uniform" else distribution.icdf_midpoint(uniforms)


def expected(distribution: PiecewiseConstant, percentile: float | Literal["mean"]) -> Tensor:
    """Return the number that represents a predicted reward or value: its mean or percentile; batch shape."""
    if percentile == "mean":
        return distribution.mean
    return distribution.icdf(torch.full_like(distribution.mean, percentile / 100.0))


def keep_parent_rows(candidates: Tensor, n_expand: int) -> Tensor:
    """Reorder chosen ``candidates [G, S]`` so that the first child of each parent takes the row of its parent.

    The order of beams does not matter to the search, and a row that stays in place is not copied.
    """
    ordered = candidates.sort(-1).values
    parents = ordered // n_expand
    is_first = torch.ones_like(parents, dtype=torch.bool)
    is_first[:, 1:] = parents[:, 1:] != parents[:, :-1]
    taken = torch.zeros_like(is_first).scatter(1, parents, True)
    free = taken.long().argsort(dim=-1, stable=True)
    nth_other = ((~is_first).cumsum(-1) - 1).clamp(min=0)
    rows = torch.where(is_first, parents, free.gather(1, nth_other))
    return torch.empty_like(ordered).scatter(1, rows, ordered)


class Candidates:
    """The rows of a search, ``[G, R]``: beams while they imagine observations, candidates while they act.

    Args:
        decoder: holds the context of each environment, which ends with the current observation.
        spec: layout of a transition.
        config: search settings.
        normalizer: converts rewards and values to their units.
        uniforms: random numbers in [0, 1), ``[G, horizon, D, most rows]``.

    Attributes:
        tokens: of each row from the first action on, ``[G, R, n]``.
        rewards: discounted sum of the predicted rewards so far, in units, float64, ``[G, R]``.
    """

    def __init__(
        self,
        decoder: Decoder,
        spec: TransitionSpec,
        config: BeamSearchConfig,
        normalizer: MinMaxNormalizer,
        uniforms: Tensor,
    ) -> None:
        self.spec, self.config, self.normalizer = spec, config, normalizer
        self._decoder, self._uniforms = decoder, uniforms
        self.tokens = uniforms.new_empty(uniforms.shape[0], 1, 0)
        self.rewards = self.tokens.new_zeros(uniforms.shape[0], 1, dtype=torch.float64)

    @property
    def step(self) -> int:
        """The number of imagined transitions, each from an action to the observation that follows."""
        return self.tokens.shape[-1] // self.spec.dimension

    @property
    def next_dimension(self) -> int:
        """The dimension of the next token."""
        return (self.spec.action.start + self.tokens.shape[-1]) % self.spec.dimension

    def expand(self, n: int) -> None:
        """Replace each row by ``n`` candidates."""
        self._decoder.expand(n)
        self.tokens = self.tokens.repeat_interleave(n, 1)
        self.rewards = self.rewards.repeat_interleave(n, 1)

    def select(self, chosen: Tensor) -> None:
        """Keep the candidates of the given indices, ``[G, S]``."""
        self._decoder.select(chosen)
        environments = torch.arange(chosen.shape[0], device=chosen.device)[:, None]
        self.tokens = self.tokens[environments, chosen]
        self.rewards = self.rewards[environments, chosen]

    def states_and_actions(self) -> tuple[Tensor, Tensor]:
        """Return the observations ``[G, R, o]`` in which the actions ``[G, R, a]`` were just sampled, in units."""
        tokens = self._decoder.last_tokens(self.spec.action.stop)
        return (
            self.normalizer.denormalize(tokens[..., self.spec.observation], self.spec.observation),
            self.normalizer.denormalize(tokens[..., self.spec.action], self.spec.action),
        )

    def sample_observation(self) -> None:
        """Sample the observation that follows."""
        for _ in range(self.spec.observation_size):
            self._sample(self.config.k_obs, self.config.cdf_obs, self.config.drop_obs)

    def sample_action(self) -> None:
        """Sample an action."""
        for _ in range(self.spec.action_size):
            self._sample(self.config.k_act, self.config.cdf_act, self.config.drop_act)

    def sample_reward(self) -> None:
        """Sample a reward, and add what is predicted of it to `rewards`."""
        discount = self.config.discount**self.step
        self.rewards += discount * self._in_units(self._sample(self.config.k_rew, 0.0, 0.0), self.spec.reward)

    def sample_value(self) -> Tensor:
        """Sample a value; return what is predicted of it, in units, ``[G, R]``."""
        return self._in_units(self._sample(self.config.k_rew, 0.0, 0.0), self.spec.value)

    def _sample(self, k: int | None, cdf: float, drop: float) -> PiecewiseConstant:
        """Sample and append the next token of each row; return its distribution before the cutoffs."""
        dimension = self.next_dimension
        distribution: PiecewiseConstant = self._decoder.next_distribution(dimension)
        uniforms = self._uniforms[:, self.step, dimension, : self.tokens.shape[1]]
        token = draw(keep_likely(distribution, k, cdf, drop), uniforms, self.config.sampling)
        self.tokens = torch.cat([self.tokens, token.unsqueeze(-1)], -1)
        self._decoder.append(token)
        return distribution

    def _in_units(self, distribution: PiecewiseConstant, dimension: int) -> Tensor:
        return self.normalizer.denormalize(expected(distribution, self.config.percentile), dimension)
