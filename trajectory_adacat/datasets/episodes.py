"""One recorded episode, and cutting long ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trajectory_adacat.errors import DataError

FLOATS = (np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Episode:
    """An episode of T transitions with observations of size o and actions of size a.

    Args:
        observations: the observation before each action, shape ``[T, o]``, float32, or float64 where float32 cannot
            resolve a dimension. This holds for the other arrays too.
        actions: shape ``[T, a]``.
        rewards: the environment's rewards without penalty or scaling, shape ``[T]``.
        terminated: whether the last transition reached a terminal state.
        truncated: whether the episode ended otherwise: at a time limit, or at the end of the recording.
        final_observation: the observation after the last action, shape ``[o]``. All NaN if unknown.
        action_log_probs: log density of each action under the policy that took it, in nats, summed over the action's
            dimensions, shape ``[T]``. None if unknown.

    Raises:
        DataError: if a shape or type is wrong, the episode is empty, a value is NaN or infinite, or ``terminated`` and
            ``truncated`` are equal.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    final_observation: np.ndarray
    action_log_probs: np.ndarray | None = None

    def __post_init__(self) -> None:
        axes = {"observations": 2, "actions": 2, "rewards": 1, "final_observation": 1}
        axes |= {} if self.action_log_probs is None else {"action_log_probs": 1}
        for name, count in axes.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype not in FLOATS or array.ndim != count:
                raise DataError(f"An episode's {name} must be a {count}-dimensional float32 or float64 array.")
            unknown = name == "final_observation" and np.isnan(array).all()
            if not unknown and not np.isfinite(array).all():
                raise DataError(f"An episode's {name} contains NaN or infinity.")
        self._check_lengths()
        if self.terminated == self.truncated:
            raise DataError("Exactly one of an episode's terminated and truncated must be set.")

    def _check_lengths(self) -> None:
        length, size = self.observations.shape
        if length == 0 or len(self.actions) != length or len(self.rewards) != length:
            raise DataError(
                "An episode needs at least one transition, and as many actions and rewards as observations: got "
                f"{length} observations, {len(self.actions)} actions, {len(self.rewards)} rewards."
            )
        if self.action_log_probs is not None and len(self.action_log_probs) != length:
            raise DataError(f"An episode of {length} transitions has {len(self.action_log_probs)} action_log_probs.")
        if self.final_observation.shape != (size,):
            raise DataError(f"An episode's final_observation must have shape ({size},), like its observations.")

    def __len__(self) -> int:
        """The number of transitions T."""
        return len(self.rewards)


def cut_episodes(episodes: Sequence[Episode], length: int) -> list[Episode]:
    """Cut every episode longer than ``length`` steps into pieces of ``length``, all but its last one truncated.

    The final observation of a piece is the next piece's first one; it is unknown where that of the episode is.
    """
    return [piece for episode in episodes for piece in _pieces(episode, length)]


def _pieces(episode: Episode, length: int) -> list[Episode]:
    pieces = []
    for start in range(0, len(episode), length):
        rows = slice(start, start + length)
        is_last = start + length >= len(episode)
        unknown = np.isnan(episode.final_observation).all()
        log_probs = episode.action_log_probs
        pieces.append(
            Episode(
                observations=episode.observations[rows],
                actions=episode.actions[rows],
                rewards=episode.rewards[rows],
                terminated=is_last and episode.terminated,
                truncated=not is_last or episode.truncated,
                final_observation=episode.final_observation if is_last or unknown else episode.observations[rows.stop],
                action_log_probs=None if log_probs is None else log_probs[rows],
            )
        )
    return pieces
