"""Beam search for high returns under the model, batched over environments."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.distributions import PiecewiseConstant
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.decoding import Decoder
from trajectory_adacat.settings import check_choices
from trajectory_adacat.transition import TransitionSpec

Sampling = Literal["uniform", "midpoint", "mean"]


@dataclass(frozen=True)
class BeamSearchConfig:
    """The settings of the search (supplementary C.3, Trajectory Transformer's defaults).

    Raises:
        InputError: for a value out of range.
    """

    discount: float  # discount of rewards and values; by default the one of the model's values
    horizon: int = 15  # transitions to imagine
    beam_width: int = 128  # beams kept after each transition
    n_expand: int = 2  # actions sampled for each beam
    k_obs: int | None = 1  # observations from this many most massive bins only
    k_act: int | None = None  # actions from this many most massive bins only
    k_rew: int | None = 1  # rewards and values from this many most massive bins only
    cdf_obs: float = 0.0  # x: observations from the fewest bins that hold 1 - x of the probability mass
    cdf_act: float = 0.0  # x: actions from the fewest bins that hold 1 - x of the probability mass
    drop_obs: float = 0.0  # x: observations without this fraction of the bins, the least massive ones
    drop_act: float = 0.0  # x: actions without this fraction of the bins, the least massive ones
    sampling: Sampling = "uniform"  # uniform within a bin, its midpoint, or the mean of what the cutoffs keep
    percentile: float | Literal["mean"] = "mean"  # rewards and values count with their mean, or a percentile (0 to 100)

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("horizon", "beam_width", "n_expand", "k_obs", "k_act", "k_rew"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        for name in ("cdf_obs", "cdf_act", "drop_obs", "drop_act"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if not 0.0 < self.discount <= 1.0:
            raise InputError(f"discount must lie in (0, 1], got {self.discount}.")
        if self.percentile != "mean" and not 0.0 <= self.percentile <= 100.0:
            raise InputError(f"percentile must be 'mean' or lie in [0, 100], got {self.percentile}.")

    def without_effect(self) -> dict[str, str]:
        """Name the settings that others make idle: one step imagines no observation."""
        return dict.fromkeys(("k_obs", "cdf_obs", "drop_obs"), "--horizon 1") if self.horizon == 1 else {}

    @property
    def cutoffs_by_bin(self) -> dict[str, object]:
        """The settings that only make sense for bins, where they are set."""
        names = ("k_obs", "k_act", "k_rew", "cdf_obs", "cdf_act", "drop_obs", "drop_act")
        found = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, 0.0)}
        return found | ({"sampling": self.sampling} if self.sampling == "midpoint" else {})


@dataclass(frozen=True)
class Plan:
    """The best beam of each environment, in tokens in [0, 1].

    Attributes:
        observations: imagined observations after the first action, ``[G, horizon - 1, o]``.
        actions: ``[G, horizon, a]``.
        scores: predicted discounted return, ``[G]``.
    """

    observations: Tensor
    actions: Tensor
    scores: Tensor


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


class _Rows:
    """The rows of a search, ``[G, R]``: their tokens from the first action on and their rewards so far."""

    def __init__(self, decoder: Decoder, uniforms: Tensor, sampling: Sampling) -> None:
        self._decoder, self._uniforms, self._sampling = decoder, uniforms, sampling
        self.tokens = uniforms.new_empty(uniforms.shape[0], 1, 0)  # [G, R, n]
        self.rewards = self.tokens.new_zeros(uniforms.shape[0], 1, dtype=torch.float64)  # [G, R], discounted sum

    def sample(self, step: int, dimension: int, k: int | None, cdf: float, drop: float) -> PiecewiseConstant:
        """Sample and append the next token of each row; return its distribution before the cutoffs."""
        distribution = self._decoder.next_distribution(dimension)
        uniforms = self._uniforms[:, step, dimension, : self.tokens.shape[1]]
        self.append(draw(keep_likely(distribution, k, cdf, drop), uniforms, self._sampling))
        return distribution

    def append(self, token: Tensor) -> None:
        self.tokens = torch.cat([self.tokens, token.unsqueeze(-1)], -1)
        self._decoder.append(token)

    def expand(self, n: int) -> None:
        self._decoder.expand(n)
        self.tokens = self.tokens.repeat_interleave(n, 1)
        self.rewards = self.rewards.repeat_interleave(n, 1)

    def select(self, candidates: Tensor) -> None:
        self._decoder.select(candidates)
        environments = torch.arange(candidates.shape[0], device=candidates.device)[:, None]
        self.tokens = self.tokens[environments, candidates]
        self.rewards = self.rewards[environments, candidates]


def uniforms_shape(spec: TransitionSpec, config: BeamSearchConfig) -> tuple[int, int, int]:
    """Return the shape of the random numbers that the search needs per environment."""
    return config.horizon, spec.dimension, config.beam_width * config.n_expand


@torch.inference_mode()
def beam_search(
    decoder: Decoder,
    spec: TransitionSpec,
    config: BeamSearchConfig,
    normalizer: MinMaxNormalizer,
    uniforms: Tensor,
) -> Plan:
    """Search for the actions of the highest predicted return, for all environments at once.

    At each imagined transition, expand every beam by ``n_expand`` sampled actions and predict the reward and value of
    each. Keep the ``beam_width`` candidates with the highest score: the discounted sum of the rewards so far plus the
    discounted value. Rewards and values are predicted means (supplementary C.3) or percentiles, as configured.

    Args:
        decoder: holds the context of each environment, which ends with the current observation.
        spec: layout of a transition.
        config: search settings.
        normalizer: converts rewards and values to their units.
        uniforms: random numbers in [0, 1), ``[G, *uniforms_shape(spec, config)]``.
    """
    rows = _Rows(decoder, uniforms, config.sampling)
    action_dimensions = range(spec.action.start, spec.action.stop)
    for step in range(config.horizon):
        rows.expand(config.beam_width * config.n_expand if step == 0 else config.n_expand)
        for dimension in action_dimensions:
            rows.sample(step, dimension, config.k_act, config.cdf_act, config.drop_act)
        reward = rows.sample(step, spec.reward, config.k_rew, 0.0, 0.0)
        rows.rewards += config.discount**step * _in_units(reward, spec.reward, config, normalizer)
        value = decoder.next_distribution(spec.value)
        last = draw(keep_likely(value, config.k_rew, 0.0, 0.0), uniforms[:, step, spec.value], config.sampling)
        scores = rows.rewards + config.discount ** (step + 1) * _in_units(value, spec.value, config, normalizer)
        chosen = scores.topk(config.beam_width, -1).indices
        if step > 0:  # at step 0, all candidates have the same parent
            chosen = keep_parent_rows(chosen, config.n_expand)
        rows.select(chosen)
        scores = scores.gather(1, chosen)
        if step + 1 < config.horizon:
            rows.append(last.gather(1, chosen))
            for dimension in range(spec.observation.stop):
                rows.sample(step, dimension, config.k_obs, config.cdf_obs, config.drop_obs)
    return _best_plan(rows.tokens, scores, spec, config.horizon)


def _in_units(
    distribution: PiecewiseConstant, dimension: int, config: BeamSearchConfig, normalizer: MinMaxNormalizer
) -> Tensor:
    return normalizer.denormalize(expected(distribution, config.percentile), dimension)


def _best_plan(tokens: Tensor, scores: Tensor, spec: TransitionSpec, horizon: int) -> Plan:
    best = scores.argmax(-1)
    environments = torch.arange(len(best), device=best.device)
    # The tokens start at the first action and end before the last value.
    padded = torch.nn.functional.pad(tokens[environments, best], (spec.action.start, 1))
    transitions = padded.unflatten(-1, (horizon, spec.dimension))
    return Plan(
        observations=transitions[:, 1:, spec.observation],
        actions=transitions[:, :, spec.action],
        scores=scores[environments, best],
    )
