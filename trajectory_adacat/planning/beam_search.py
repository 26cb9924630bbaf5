"""Beam search for high returns under the model, batched over environments."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.planning.candidates import Candidates, keep_parent_rows
from trajectory_adacat.planning.decoding import Decoder
from trajectory_adacat.planning.scoring import Scorer
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.transition import TransitionSpec


@dataclass(frozen=True)
class Plan:
    """The best beam of each environment, in tokens in [0, 1], and the candidates of the last transition.

    Attributes:
        observations: imagined observations after the first action, ``[G, horizon - 1, o]``.
        actions: ``[G, horizon, a]``.
        scores: predicted discounted return, ``[G]``.
        candidates: transitions of all candidates, ``[G, R, horizon, D]``. What was not imagined is NaN: the first
            observation, and a last reward and value that the scorer does not need.
        candidate_scores: their scores, ``[G, R]``.
    """

    observations: Tensor
    actions: Tensor
    scores: Tensor
    candidates: Tensor
    candidate_scores: Tensor


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
    # The tokens start at the first action, and may end before the last reward or the last value.
    n_missing = horizon * spec.dimension - spec.action.start - tokens.shape[-1]
    padded = torch.nn.functional.pad(tokens, (spec.action.start, n_missing), value=torch.nan)
    candidates = padded.unflatten(-1, (horizon, spec.dimension))
    best = scores.argmax(-1)  # of the candidates of the last transition
    environments = torch.arange(len(best), device=best.device)
    transitions = candidates[environments, best]
    return Plan(
        observations=transitions[:, 1:, spec.observation],
        actions=transitions[:, :, spec.action],
        scores=scores[environments, best],
        candidates=candidates,
        candidate_scores=scores,
    )
