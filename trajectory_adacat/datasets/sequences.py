"""Turn episodes into transitions with values, and transitions into windows of tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.robots import find_dataset
from trajectory_adacat.transition import TransitionSpec

MIN_EPISODE_LENGTH = 2
Penalty = float | Literal["auto"] | None
LOCOMOTION_PENALTY = -100.0  # Trajectory Transformer's, for robots that fall


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """How episodes become transitions with values, and which are held out.

    Raises:
        InputError: for a value out of range.
    """

    discount: float = 0.99  # discount of the values
    termination_penalty: Penalty = "auto"  # a terminal's reward; none for its own; auto: -100 for locomotion, else none
    cut_episodes: int | None = None  # cut longer episodes into pieces of this many steps
    holdout_fraction: float = 0.05  # share of the episodes kept for evaluation

    def __post_init__(self) -> None:
        if not 0.0 < self.discount <= 1.0:
            raise InputError(f"discount must lie in (0, 1], got {self.discount}.")
        penalty = self.termination_penalty
        if penalty not in ("auto", None) and (isinstance(penalty, str) or not math.isfinite(penalty)):
            raise InputError(f"termination_penalty must be finite, none or auto, got {penalty}.")
        if self.cut_episodes is not None and self.cut_episodes < MIN_EPISODE_LENGTH:
            raise InputError(f"cut_episodes must be at least {MIN_EPISODE_LENGTH}, or none, got {self.cut_episodes}.")
        if not 0.0 <= self.holdout_fraction < 1.0:
            raise InputError(f"holdout_fraction must lie in [0, 1), got {self.holdout_fraction}.")

    def without_effect(self) -> dict[str, str]:
        """Leave ``cut_episodes`` out of what is recorded where nothing is cut."""
        return {"cut_episodes": "--cut_episodes none"} if self.cut_episodes is None else {}


@dataclass(frozen=True, kw_only=True)
class DataConfig(EpisodeConfig):
    """How episodes become training sequences.

    Raises:
        InputError: for a value out of range.
    """

    subsampled_sequence_length: int = 10  # transitions in a training sequence
    step: int = 1  # distance between the transitions of a sequence

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("subsampled_sequence_length", "step"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")


def resolve_penalty(penalty: Penalty, dataset: str) -> float | None:
    """Return the termination penalty for a dataset's name: ``auto`` is -100 for locomotion data known by name.

    In other data a terminal may well be the goal, whose reward has to stay.
    """
    if penalty == "auto":
        return LOCOMOTION_PENALTY if find_dataset(dataset) else None
    return penalty


def terminal_rewards(episodes: Sequence[Episode]) -> np.ndarray:
    """Return the rewards that a termination penalty replaces: those of the episodes that training uses, ``(k,)``."""
    return np.array(
        [e.rewards[-1] for e in episodes if e.terminated and len(e) >= MIN_EPISODE_LENGTH], dtype=np.float64
    )


def penalized_rewards(episode: Episode, penalty: float | None) -> np.ndarray:
    """Return the rewards, shape ``(T,)``; ``penalty`` replaces the last one if the episode terminated."""
    rewards = np.asarray(episode.rewards, dtype=np.float64).copy()
    if episode.terminated and penalty is not None:
        rewards[-1] = penalty
    return rewards


def discounted_values(rewards: np.ndarray, discount: float) -> np.ndarray:
    """Compute the discounted sum of the rewards after each step, excluding its own, shape ``(T,)``.

    ``value[t] = sum over j >= 0 of discount^j reward[t + 1 + j]``, without bootstrapping at the end.
    """
    # SciPy's lfilter gives the same bits, but its import takes longer than this does for a million rewards.
    values = accumulate(rewards[:0:-1].tolist(), lambda value, reward: reward + discount * value, initial=0.0)
    return np.fromiter(values, np.float64, len(rewards))[::-1].copy()


def episode_transitions(episode: Episode, discount: float, penalty: float | None) -> np.ndarray:
    """Concatenate observation, action, reward and value of each step, float64, shape ``(T, D)``."""
    rewards = penalized_rewards(episode, penalty)
    columns = [episode.observations, episode.actions, rewards[:, None], discounted_values(rewards, discount)[:, None]]
    return np.concatenate(columns, axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Trajectories:
    """The transitions of several episodes in one flat array.

    Attributes:
        transitions: concatenated episodes, float64, shape ``(n, D)``.
        ends: for each row, one past the last row of its episode, int64, shape ``(n,)``.
        n_skipped: the number of episodes skipped because they are shorter than two steps.
    """

    transitions: Tensor
    ends: Tensor
    n_skipped: int

    @classmethod
    def from_episodes(
        cls, episodes: Sequence[Episode], discount: float, termination_penalty: float | None
    ) -> "Trajectories":
        """Apply the penalty, compute the values, and concatenate the episodes.

        Raises:
            InputError: if no episode has two or more steps, or a number is out of range.
        """
        if not 0.0 < discount <= 1.0:
            raise InputError(f"--discount must lie in (0, 1], got {discount}.")
        if termination_penalty is not None and not math.isfinite(termination_penalty):
            raise InputError(f"--termination_penalty must be finite, or none, got {termination_penalty}.")
        kept = [episode for episode in episodes if len(episode.rewards) >= MIN_EPISODE_LENGTH]
        if not kept:
            raise DataError(f"None of the {len(episodes)} episodes has {MIN_EPISODE_LENGTH} or more steps.")
        lengths = torch.tensor([len(episode.rewards) for episode in kept])
        rows = np.concatenate([episode_transitions(e, discount, termination_penalty) for e in kept])
        ends = torch.repeat_interleave(lengths.cumsum(0), lengths)
        return cls(torch.from_numpy(rows), ends, len(episodes) - len(kept))


def split_episodes(
    episodes: Sequence[Episode], holdout_fraction: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """Split whole episodes into training and held-out sets, each with at least one unless ``holdout_fraction`` is 0.

    Episodes too short for a window stay in the training set, so that both sets have windows.

    Raises:
        InputError: if the fraction is out of range, or it is above 0 and fewer than two episodes are long enough.
    """
    if not 0.0 <= holdout_fraction < 1.0:
        raise InputError(f"--holdout_fraction must lie in [0, 1), got {holdout_fraction}.")
    if holdout_fraction == 0.0:
        return list(episodes), []
    usable = [i for i, episode in enumerate(episodes) if len(episode) >= MIN_EPISODE_LENGTH]
    if len(usable) < 2:
        raise DataError(
            f"--holdout_fraction needs two episodes of {MIN_EPISODE_LENGTH} or more steps, got {len(usable)}: "
            "pass --holdout_fraction 0."
        )
    n_holdout = min(max(1, round(holdout_fraction * len(usable))), len(usable) - 1)
    held = set(np.random.default_rng(seed).permutation(usable)[:n_holdout].tolist())
    training = [episode for i, episode in enumerate(episodes) if i not in held]
    return training, [episodes[i] for i in sorted(held)]


@dataclass(frozen=True)
class Batch:
    """A batch of B windows of L transitions.

    Attributes:
        tokens: float32 in [0, 1], shape ``(B, L * D)``; padding is 0.
        mask: bool, shape ``(B, L * D)``; False for padding. It masks tokens, not targets: the target of position p is
            token p + 1, so the loss takes ``mask[:, 1:]``.
    """

    tokens: Tensor
    mask: Tensor


class SequenceDataset:
    """Windows of ``length`` transitions, ``step`` apart. One starts at each step of an episode except its last.

    A window that extends past the end of its episode is padded, and the padding is masked. Gathering a batch is one
    indexing operation.

    Args:
        trajectories: the flat transitions.
        normalizer: maps the transitions to [0, 1].
        spec: the layout of a transition.
        length: the number of transitions per window.
        step: the distance between consecutive transitions of a window.
        device: the device of the flat arrays and of the batches.

    Attributes:
        n_targets: number of tokens to predict in all windows together, padding left out.

    Raises:
        InputError: if length or step is not positive.
    """

    def __init__(
        self,
        trajectories: Trajectories,
        normalizer: MinMaxNormalizer,
        spec: TransitionSpec,
        length: int,
        step: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (("subsampled_sequence_length", length), ("step", step)):
            if value < 1:
                raise InputError(f"--{name} must be at least 1, got {value}.")
        self.spec = spec
        self.length = length
        self.n_clamped = normalizer.count_outside(trajectories.transitions)
        self.tokens = normalizer.normalize(trajectories.transitions).to(device)  # [n, D]
        self._ends = trajectories.ends.to(device)  # [n]
        rows = torch.arange(len(self.tokens), device=device)
        self._starts = rows[rows < self._ends - 1]
        self._offsets = torch.arange(length, device=device) * step
        steps_left = self._ends[self._starts] - self._starts
        transitions = ((steps_left - 1) // step + 1).clamp(max=length)  # of each window, padding left out
        self.n_targets = int((transitions * spec.dimension - 1).sum())

    def __len__(self) -> int:
        return len(self._starts)

    def batch(self, windows: Tensor) -> Batch:
        """Gather the windows with the given indices, int64, shape ``(B,)``."""
        starts = self._starts[windows]
        rows = starts[:, None] + self._offsets  # [B, L]
        real = rows < self._ends[starts][:, None]
        tokens = self.tokens[rows.clamp(max=len(self.tokens) - 1)]  # [B, L, D]
        mask = real[:, :, None].expand_as(tokens)
        return Batch((tokens * mask).flatten(1), mask.flatten(1))
