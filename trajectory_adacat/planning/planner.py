"""The planner: a trained model that acts, with its memory of past transitions."""

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
from trajectory_adacat.planning.beam_search import BeamSearchConfig, beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder, Decoder, WindowConfig
from trajectory_adacat.settings import check_choices

Precision = Literal["float32", "bfloat16"]
MOST_BEAMS = 1024  # of all environments that are planned for at once: more save no time, and memory grows with them


@dataclass(frozen=True)
class PlannerConfig:
    """How to plan.

    Raises:
        InputError: for a value out of range.
    """

    search: BeamSearchConfig
    window: WindowConfig = field(default_factory=WindowConfig)
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


def environments_at_once(search: BeamSearchConfig) -> int:
    """For how many environments one search plans; others follow, which changes no plan."""
    return max(1, MOST_BEAMS // search.beam_width)


class _Memory:
    """What one environment has been through since its episode began."""

    def __init__(self, seed: int, length: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.transitions: deque[Tensor] = deque(maxlen=length)  # [D] each, in [0, 1], the newest last
        self.observation: Tensor | None = None  # [o], waiting for its action and reward
        self.action: Tensor | None = None  # [a], the one last given out
        self.planned: list[Tensor] = []  # [a] each: what is left of the last plan

    def context(self) -> Tensor:
        """The past transitions in sight and the current observation, ``[n]``."""
        assert self.observation is not None
        return torch.cat([*self.transitions, self.observation])


class Planner:
    """Acts in one or more environments at once by beam search under a model.

    Args:
        model: the trained model; it is put into evaluation mode and into the config's precision.
        normalizer: maps transitions to the model's [0, 1].
        config: how to plan.
        make_decoder: what decodes the model; another one than the cached serves comparison.

    Raises:
        InputError: if the model cannot hold the context.
    """

    def __init__(
        self,
        model: GPT,
        normalizer: MinMaxNormalizer,
        config: PlannerConfig,
        make_decoder: Callable[[GPT, Tensor, WindowConfig], Decoder] = CachedDecoder,
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
        self.normalizer = normalizer.to("cpu")
        self._device_normalizer = normalizer.to(model.device)
        self._memories: list[_Memory] = []
        self.n_clamped = 0

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, config: PlannerConfig, device: torch.device | str = "cpu", compiled: bool = False
    ) -> "Planner":
        """Loads a checkpoint folder; the dataset is not needed.

        Args:
            path: the folder.
            config: how to plan.
            device: where.
            compiled: see `GPT.compile_decoding`.

        Raises:
            InputError: if the checkpoint is missing or damaged, or the model cannot hold what the config asks for.
        """
        loaded = load_model(path, use_ema=config.use_ema, device=device)
        return cls(loaded.model.compile_decoding() if compiled else loaded.model, loaded.normalizer, config)

    def reset(self, seeds: Sequence[int] | int = 0) -> None:
        """Forgets the past and begins an episode in each of ``len(seeds)`` environments (an int: in one)."""
        length = self.config.window.max_context_transitions - 1 if self.config.prefix_context else 0
        self._memories = [_Memory(seed, length) for seed in np.atleast_1d(seeds).tolist()]

    @property
    def n_environments(self) -> int:
        """How many environments `reset` was given."""
        return len(self._memories)

    def act(self, observations: ArrayLike, environments: Sequence[int] | None = None) -> np.ndarray:
        """The next action of each named environment (all by default), ``[M, a]``, in the environment's units.

        Args:
            observations: the current observations, ``[M, o]``.
            environments: which environments these are; finished ones are left out and cost nothing.

        Raises:
            InputError: if the observations are not finite, or not of the model's shape.
        """
        memories = self._named(environments)
        self._remember(memories, observations)
        waiting = [memory for memory in memories if not memory.planned]
        # Episodes that began together have contexts of one length, and are planned for together.
        for length in sorted({len(memory.transitions) for memory in waiting}):
            alike = [memory for memory in waiting if len(memory.transitions) == length]
            n = environments_at_once(self.config.search)
            for first in range(0, len(alike), n):
                self._plan(alike[first : first + n])
        for memory in memories:
            memory.action = memory.planned.pop(0)
        actions = torch.stack([memory.action for memory in memories if memory.action is not None])
        return self.normalizer.denormalize(actions, self.spec.action).numpy()

    def observe(
        self, rewards: ArrayLike, actions: ArrayLike | None = None, environments: Sequence[int] | None = None
    ) -> None:
        """Tells what the environments answered, after `act`.

        Args:
            rewards: ``[M]``.
            actions: what was really done, ``[M, a]``, where that is not what `act` gave.
            environments: which environments these are, all by default.
        """
        memories = self._named(environments)
        taken = self._normalize(rewards, slice(self.spec.reward, self.spec.reward + 1), (len(memories), 1))
        done = (
            None
            if actions is None
            else self._normalize(actions, self.spec.action, (len(memories), self.spec.action_size))
        )
        for i, memory in enumerate(memories):
            if memory.observation is None or memory.action is None:
                raise RuntimeError("observe() follows act()")
            action = memory.action if done is None else done[i]
            # The value of a past transition is not known, and no query attends to it.
            memory.transitions.append(torch.cat([memory.observation, action, taken[i], torch.zeros(1)]))
            memory.observation = memory.action = None

    def _named(self, environments: Sequence[int] | None) -> list[_Memory]:
        if not self._memories:
            raise RuntimeError("reset() comes first")
        return self._memories if environments is None else [self._memories[i] for i in environments]

    def _remember(self, memories: Sequence[_Memory], observations: ArrayLike) -> None:
        current = self._normalize(observations, self.spec.observation, (len(memories), self.spec.observation_size))
        for memory, observation in zip(memories, current, strict=True):
            memory.observation = observation

    def _normalize(self, values: ArrayLike, dimensions: slice, shape: tuple[int, int]) -> Tensor:
        array = np.asarray(values, dtype=np.float64)
        fits = array.shape == shape or (shape[1] == 1 and array.shape == shape[:1])  # rewards may be a vector
        if not fits or not np.isfinite(array).all():
            raise InputError(
                f"Expected finite values for {shape[0]} environments and dimensions {dimensions.start} to "
                f"{dimensions.stop - 1} of a transition, got an array of shape {array.shape}."
            )
        tensor = torch.from_numpy(array).reshape(shape)
        self.n_clamped += self.normalizer.count_outside(tensor, dimensions)
        return self.normalizer.normalize(tensor, dimensions)

    def _plan(self, memories: Sequence[_Memory]) -> None:
        device = self.model.device
        search = self.config.search
        shape = uniforms_shape(self.spec, search)
        # Each environment draws from its own generator, so that its numbers do not depend on its neighbours.
        uniforms = torch.stack([torch.rand(shape, generator=memory.generator) for memory in memories]).to(device)
        context = torch.stack([memory.context() for memory in memories]).to(device)
        with torch.inference_mode():
            decoder = self._make_decoder(self.model, context, self.config.window)
            plan = beam_search(decoder, self.spec, search, self._device_normalizer, uniforms)
        for memory, actions in zip(memories, plan.actions[:, : self.config.plan_freq].cpu(), strict=True):
            memory.planned = list(actions)
