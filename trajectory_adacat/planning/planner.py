"""The planner: a trained model that acts by beam search and keeps the recent past of each environment."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.beam_search import beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder, Decoder, WindowConfig
from trajectory_adacat.planning.scoring import SCORINGS, ActionValues, Scoring, make_scorer
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.settings import check_choices, variant

Precision = Literal["float32", "bfloat16"]
MAX_BEAMS = 1024  # per search, over all environments: more save no time, and memory grows with them


@dataclass(frozen=True)
class PlannerConfig:
    """How to plan.

    Raises:
        InputError: for a value out of range.
    """

    search: BeamSearchConfig
    window: WindowConfig = field(default_factory=WindowConfig)
    scoring: Scoring = variant("scoring", SCORINGS, default="values")  # by the model's value tokens, or by a critic
    plan_freq: int = 1  # steps between two plans; in between the plan's next action is taken
    prefix_context: bool = True  # give the model the past, not the current observation alone
    use_ema: bool = False  # plan with the moving average of the weights
    precision: Precision = "float32"  # of the blocks' matrices and the cache

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.plan_freq <= self.search.horizon:
            raise InputError(f"plan_freq must lie between 1 and the horizon {self.search.horizon}.")
        if self.search.horizon > 1 and self.window.window == "cropped" and self.window.max_context_transitions < 2:
            raise InputError("max_context_transitions must be at least 2 to plan for more than one step when cropped.")


def environments_per_search(search: BeamSearchConfig) -> int:
    """Return the maximum number of environments per search. Splitting them over several searches changes no plan."""
    return max(1, MAX_BEAMS // search.beam_width)


@dataclass(frozen=True)
class MadePlan:
    """A plan of one environment and the candidates that it was chosen from, in tokens in [0, 1].

    Attributes:
        context: what the model saw, ``[n]``: whole transitions, then the current observation.
        score: predicted discounted return of the plan.
        candidates: ``[R, horizon, D]``, as in `Plan`.
        candidate_scores: ``[R]``.
    """

    context: Tensor
    score: float
    candidates: Tensor
    candidate_scores: Tensor

    @property
    def transitions(self) -> Tensor:
        """The chosen plan, ``[horizon, D]``."""
        return self.candidates[self.candidate_scores.argmax()]


class _Episode:
    """State of the running episode of one environment."""

    def __init__(self, seed: int, length: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.transitions: deque[Tensor] = deque(maxlen=length)  # [D] each, in [0, 1], oldest first
        self.observation: Tensor | None = None  # [o], without action and reward so far
        self.action: Tensor | None = None  # [a], last action returned by act()
        self.planned: list[Tensor] = []  # [a] each: the rest of the last plan
        self.made: MadePlan | None = None  # by the last act()

    def context(self) -> Tensor:
        """Return the visible past transitions and the current observation, ``[n]``."""
        assert self.observation is not None
        return torch.cat([*self.transitions, self.observation])


class Planner:
    """Acts in one or more environments at once by beam search under a model.

    Args:
        model: trained model; it is set to evaluation mode and to the precision of the config.
        normalizer: maps transitions to [0, 1].
        config: planning settings.
        make_decoder: makes the decoder of a model and context; tests and benchmarks pass one without caches.
        critic: scores the candidates if the config says so; on the model's device.

    Raises:
        InputError: if the context exceeds the block that the model was trained on, or the critic is missing.
    """

    def __init__(
        self,
        model: GPT,
        normalizer: MinMaxNormalizer,
        config: PlannerConfig,
        make_decoder: Callable[[GPT, Tensor, WindowConfig], Decoder] = CachedDecoder,
        critic: ActionValues | None = None,
    ) -> None:
        n_transitions = model.config.n_transitions
        if config.window.max_context_transitions > n_transitions:
            raise InputError(
                f"max_context_transitions {config.window.max_context_transitions} exceeds the {n_transitions} "
                "transitions that the model was trained on."
            )
        cutoffs = config.search.cutoffs_by_bin
        if cutoffs and not model.head.has_bins:
            shown = ", ".join(f"--{name} {value}" for name, value in cutoffs.items())
            raise InputError(
                f"{shown}: {model.config.head.name} outputs have no bins. Pass none for k_obs, k_act and k_rew, 0 for "
                "the other cutoffs, and --sampling uniform or mean."
            )
        if config.search.horizon > 1 and n_transitions < 2:
            raise InputError("A model trained on single transitions cannot plan for more than one step.")
        self.model = model.eval()
        if config.precision == "bfloat16":
            self.model.reduce_precision()
        self.spec = model.spec
        self.config = config
        self._make_decoder = make_decoder
        self._scorer = make_scorer(config.scoring, critic)
        self.normalizer = normalizer.to("cpu")
        self._device_normalizer = normalizer.to(model.device)
        self._episodes: list[_Episode] = []
        self.n_clamped = 0

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        config: PlannerConfig,
        device: torch.device | str = "cpu",
        compiled: bool = False,
        critic: ActionValues | None = None,
    ) -> "Planner":
        """Load a planner from a checkpoint folder; the dataset is not needed.

        Args:
            path: checkpoint folder.
            config: planning settings.
            device: device of the model.
            compiled: whether to call `GPT.compile_decoding`.
            critic: scores the candidates if the config says so, such as one that `critic.checkpoint.load_critic` loads.

        Raises:
            InputError: if the checkpoint is missing or damaged, the context exceeds the trained block, or the critic is
                missing.
        """
        loaded = load_model(path, use_ema=config.use_ema, device=device)
        model = loaded.model.compile_decoding() if compiled else loaded.model
        return cls(model, loaded.normalizer, config, critic=critic)

    def reset(self, seeds: Sequence[int] | int = 0) -> None:
        """Start an episode in each of ``len(seeds)`` environments, or in one if ``seeds`` is an int."""
        length = self.config.window.max_context_transitions - 1 if self.config.prefix_context else 0
        self._episodes = [_Episode(seed, length) for seed in np.atleast_1d(seeds).tolist()]

    @property
    def n_environments(self) -> int:
        """Number of environments passed to `reset`."""
        return len(self._episodes)

    @property
    def scores(self) -> list[float | None]:
        """Score of the plan that each environment's last `act` made: its predicted discounted return, in units.

        None where that `act` took the next action of an earlier plan, and before the first.
        """
        return [None if plan is None else plan.score for plan in self.plans]

    @property
    def plans(self) -> list[MadePlan | None]:
        """The plan that each environment's last `act` made; None as for `scores`."""
        return [episode.made for episode in self._episodes]

    def act(self, observations: ArrayLike, environments: Sequence[int] | None = None) -> np.ndarray:
        """Return the next action of each given environment, ``[M, a]``, in the units of the environment.

        Args:
            observations: current observations, ``[M, o]``.
            environments: indices of these environments, all by default. Leave out finished ones to save time.

        Raises:
            InputError: if the observations are not finite or have another shape.
            RuntimeError: before `reset`.
        """
        episodes = self._select(environments)
        self._set_observations(episodes, observations)
        for episode in episodes:
            episode.made = None
        waiting = [episode for episode in episodes if not episode.planned]
        # One search needs contexts of equal length. Episodes that started together have them.
        for length in sorted({len(episode.transitions) for episode in waiting}):
            group = [episode for episode in waiting if len(episode.transitions) == length]
            n = environments_per_search(self.config.search)
            for first in range(0, len(group), n):
                self._plan(group[first : first + n])
        for episode in episodes:
            episode.action = episode.planned.pop(0)
        actions = torch.stack([episode.action for episode in episodes if episode.action is not None])
        return self.normalizer.denormalize(actions, self.spec.action).numpy()

    def observe(
        self, rewards: ArrayLike, actions: ArrayLike | None = None, environments: Sequence[int] | None = None
    ) -> None:
        """Record the outcome of the last step. Call it after each `act`.

        Args:
            rewards: ``[M]``.
            actions: the actions taken, ``[M, a]``; by default those returned by `act`.
            environments: indices of these environments, all by default.

        Raises:
            InputError: if the numbers are not finite or have another shape.
            RuntimeError: before `act`.
        """
        episodes = self._select(environments)
        normalized_rewards = self._normalize(rewards, slice(self.spec.reward, self.spec.reward + 1), (len(episodes), 1))
        taken = (
            None
            if actions is None
            else self._normalize(actions, self.spec.action, (len(episodes), self.spec.action_size))
        )
        for i, episode in enumerate(episodes):
            if episode.observation is None or episode.action is None:
                raise RuntimeError("call act() before observe()")
            action = episode.action if taken is None else taken[i]
            # The value of a past transition is unknown, and no query attends to it.
            episode.transitions.append(torch.cat([episode.observation, action, normalized_rewards[i], torch.zeros(1)]))
            episode.observation = episode.action = None

    def _select(self, environments: Sequence[int] | None) -> list[_Episode]:
        if not self._episodes:
            raise RuntimeError("call reset() first")
        return self._episodes if environments is None else [self._episodes[i] for i in environments]

    def _set_observations(self, episodes: Sequence[_Episode], observations: ArrayLike) -> None:
        current = self._normalize(observations, self.spec.observation, (len(episodes), self.spec.observation_size))
        for episode, observation in zip(episodes, current, strict=True):
            episode.observation = observation

    def _normalize(self, values: ArrayLike, dimensions: slice, shape: tuple[int, int]) -> Tensor:
        array = np.asarray(values, dtype=np.float64)
        has_shape = array.shape == shape or (shape[1] == 1 and array.shape == shape[:1])  # rewards may be a vector
        if not has_shape or not np.isfinite(array).all():
            raise InputError(
                f"Expected finite values for {shape[0]} environments and dimensions {dimensions.start} to "
                f"{dimensions.stop - 1} of a transition, got an array of shape {array.shape}."
            )
        tensor = torch.from_numpy(array).reshape(shape)
        self.n_clamped += self.normalizer.count_outside(tensor, dimensions)
        return self.normalizer.normalize(tensor, dimensions)

    def _plan(self, episodes: Sequence[_Episode]) -> None:
        device = self.model.device
        search = self.config.search
        shape = uniforms_shape(self.spec, search)
        # Each environment has its own generator, so that its random numbers do not depend on the others.
        uniforms = torch.stack([torch.rand(shape, generator=episode.generator) for episode in episodes]).to(device)
        context = torch.stack([episode.context() for episode in episodes]).to(device)
        with torch.inference_mode():
            decoder = self._make_decoder(self.model, context, self.config.window)
            plan = beam_search(decoder, self.spec, search, self._device_normalizer, uniforms, self._scorer)
        actions = plan.actions[:, : self.config.plan_freq].cpu()
        if not bool(actions.isfinite().all() and plan.scores.isfinite().all()):
            raise InputError(
                "The model predicts numbers that are not finite, so that no plan can be chosen: plan with an earlier "
                "checkpoint (--gpt_epoch) or in another --precision, or train again with a lower --learning_rate."
            )
        for i, (episode, score) in enumerate(zip(episodes, plan.scores.cpu().tolist(), strict=True)):
            episode.planned = list(actions[i])
            episode.made = MadePlan(context[i], score, plan.candidates[i], plan.candidate_scores[i])
