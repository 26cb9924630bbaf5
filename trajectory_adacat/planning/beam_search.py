"""Beam search for high returns under the model, batched over environments."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.candidates import Candidates, keep_parent_rows
from trajectory_adacat.planning.decoding import Decoder
from trajectory_adacat.planning.scoring import Scorer
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
        if self.percentile != "mean" and 0.0 < self.percentile < 1.0:
            raise InputError(
                f"percentile {self.percentile} is a fraction, as in Trajectory Transformer; here a percentile runs "
                f"from 0 to 100: write {100 * self.percentile:.6g}. Percentiles between 0 and 1 are not offered."
            )

    def without_effect(self) -> dict[str, str]:
        """Name the settings that others make idle: one step imagines no observation."""
        return dict.fromkeys(("k_obs", "cdf_obs", "drop_obs"), "--horizon 1") if self.horizon == 1 else {}

    @property
    def cutoffs_by_bin(self) -> dict[str, object]:
        """The settings that only make sense for bins, where they are set."""
        names = ("k_obs", "k_act", "k_rew", "cdf_obs", "cdf_act", "drop_obs", "drop_act")
        found = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, 0.0)}
        return found | ({"sampling": self.sampling} if self.sampling == "midpoint" else {})


# The planner then takes one action sampled from all bins: a good clone returns what the data returns.
NO_SEARCH: dict[str, Any] = {
    "horizon": 1,
    "beam_width": 1,
    "n_expand": 1,
    "k_act": None,
    "cdf_act": 0.0,
    "drop_act": 0.0,
    "sampling": "uniform",
}


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
    scorer: Scorer,
) -> Plan:
    """Search for the actions of the highest score, for all environments at once.

    At each imagined transition, expand every beam by ``n_expand`` sampled actions, score the candidates, and keep the
    ``beam_width`` best. With `ValueTokens`, the score is the discounted sum of the rewards so far plus the discounted
    value; both are predicted means (supplementary C.3) or percentiles, as configured.

    Args:
        decoder: holds the context of each environment, which ends with the current observation.
        spec: layout of a transition.
        config: search settings.
        normalizer: converts rewards and values to their units.
        uniforms: random numbers in [0, 1), ``[G, *uniforms_shape(spec, config)]``.
        scorer: scores the candidates.
    """
    candidates = Candidates(decoder, spec, config, normalizer, uniforms)
    for step in range(config.horizon):
        if step > 0:
            candidates.sample_observation()
        candidates.expand(config.beam_width * config.n_expand if step == 0 else config.n_expand)
        candidates.sample_action()
        scores = scorer.score(candidates)
        if step + 1 < config.horizon:
            chosen = scores.topk(config.beam_width, -1).indices
            # At step 0, all candidates have the same parent.
            candidates.select(keep_parent_rows(chosen, config.n_expand) if step > 0 else chosen)
            _end_transition(candidates)
    return _best_plan(candidates.tokens, scores, spec, config.horizon)


def _end_transition(candidates: Candidates) -> None:
    """Sample the reward and the value, unless the scorer did."""
    if candidates.next_dimension == candidates.spec.reward:
        candidates.sample_reward()
    if candidates.next_dimension == candidates.spec.value:
        candidates.sample_value()


def _best_plan(tokens: Tensor, scores: Tensor, spec: TransitionSpec, horizon: int) -> Plan:
    best = scores.argmax(-1)  # of the candidates of the last transition
    environments = torch.arange(len(best), device=best.device)
    # The tokens start at the first action, and may end before the last reward or the last value.
    n_missing = horizon * spec.dimension - spec.action.start - tokens.shape[-1]
    padded = torch.nn.functional.pad(tokens[environments, best], (spec.action.start, n_missing))
    transitions = padded.unflatten(-1, (horizon, spec.dimension))
    return Plan(
        observations=transitions[:, 1:, spec.observation],
        actions=transitions[:, :, spec.action],
        scores=scores[environments, best],
    )
