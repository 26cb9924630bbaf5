"""Read episodes from a Minari dataset with the minari library."""

import hashlib
import itertools
from typing import Any

import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.precision import narrow, precision_note
from trajectory_adacat.environments import open_minari
from trajectory_adacat.errors import DataError, InputError


def read_minari(dataset_id: str) -> tuple[list[Episode], str, dict[str, Any], list[str]]:
    """Read a local Minari dataset.

    Args:
        dataset_id: such as ``mujoco/hopper/medium-v0``.

    Returns:
        The episodes, a SHA-256 over their arrays (a Minari dataset is a folder, not a file), the ids of the dataset and
        of its environment (None if the dataset does not name it), and lines for the user.

    Raises:
        DataError: if the library or the dataset is missing, the dataset is old, incomplete or empty, or observations
            or actions are not vectors.
    """
    try:
        dataset = open_minari(dataset_id)
        recorded = list(dataset.iterate_episodes())
    except InputError:
        raise
    except Exception as error:  # minari raises whatever its storage does: KeyError, ValueError, AssertionError, OSError
        raise DataError(
            f"The Minari dataset {dataset_id} cannot be read: it is incomplete, or the installed minari does not read "
            f"its version ({type(error).__name__}: {error}). Run `minari download {dataset_id} --force`, or install "
            "the minari that it was made with."
        ) from error
    if not recorded:
        raise DataError(f"The Minari dataset {dataset_id} contains no episodes.")
    episodes, notes = _convert(recorded, dataset_id)
    environment = dataset.spec.env_spec.id if dataset.spec.env_spec else None
    return episodes, _digest(dataset_id, episodes), {"minari": dataset_id, "environment": environment}, notes


def _digest(dataset_id: str, episodes: list[Episode]) -> str:
    digest = hashlib.sha256(dataset_id.encode())
    for episode in episodes:
        for array in (episode.observations, episode.actions, episode.rewards, episode.final_observation):
            digest.update(array.tobytes())
        digest.update(bytes([episode.terminated]))
    return digest.hexdigest()


def _convert(recorded: list[Any], dataset_id: str) -> tuple[list[Episode], list[str]]:
    """Return the episodes and the lines for the user."""
    for episode in recorded:
        _check_arrays(episode, dataset_id)
    columns, notes = {}, []
    for name in ("observations", "actions", "rewards"):
        columns[name], lossy = narrow([np.asarray(getattr(episode, name)) for episode in recorded])
        if len(lossy):
            notes.append(precision_note(name, lossy, columns[name][0].dtype))
    episodes = [
        piece
        for index, episode in enumerate(recorded)
        for piece in _split(episode, {name: arrays[index] for name, arrays in columns.items()}, dataset_id)
    ]
    if len(episodes) > len(recorded):
        notes.append(
            f"found {len(episodes) - len(recorded)} ends of episodes (terminations or truncations) before the last row "
            "of a Minari episode: split there"
        )
    return episodes, notes


def _check_arrays(recorded: Any, dataset_id: str) -> None:
    for name in ("observations", "actions"):
        array = getattr(recorded, name)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
            raise DataError(f"In the Minari dataset {dataset_id}, {name} are not vectors of real numbers.")
    if len(recorded.rewards) == 0 or len(recorded.observations) != len(recorded.rewards) + 1:
        raise DataError(
            f"Episode {recorded.id} of the Minari dataset {dataset_id} cannot be used: it has "
            f"{len(recorded.observations)} observations for {len(recorded.rewards)} rewards, and needs at least one "
            "reward and one observation more than rewards."
        )


def _split(recorded: Any, arrays: dict[str, np.ndarray], dataset_id: str) -> list[Episode]:
    """Split a recorded episode of T rewards and T + 1 observations at flags before its last row."""
    observations, rewards = arrays["observations"], arrays["rewards"]
    terminations = np.asarray(recorded.terminations, dtype=bool)
    ends = terminations | np.asarray(recorded.truncations, dtype=bool)
    bounds = np.unique([0, *(np.flatnonzero(ends) + 1).tolist(), len(rewards)]).tolist()
    try:
        return [
            Episode(
                observations=observations[start:stop],
                actions=arrays["actions"][start:stop],
                rewards=rewards[start:stop],
                terminated=bool(terminations[stop - 1]),
                truncated=not terminations[stop - 1],
                final_observation=observations[stop],
            )
            for start, stop in itertools.pairwise(bounds)
        ]
    except InputError as error:
        raise DataError(f"Episode {recorded.id} of the Minari dataset {dataset_id} cannot be used: {error}") from error
