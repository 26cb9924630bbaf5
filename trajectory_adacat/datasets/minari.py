"""Read episodes from a Minari dataset with the minari library."""

import hashlib
from typing import Any

import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.environments import open_minari
from trajectory_adacat.errors import InputError


def read_minari(dataset_id: str) -> tuple[list[Episode], str, dict[str, Any]]:
    """Read a local Minari dataset.

    Args:
        dataset_id: such as ``mujoco/hopper/medium-v0``.

    Returns:
        The episodes, a SHA-256 over their arrays (a Minari dataset is a folder, not a file), and the ids of the dataset
        and of its environment (None if the dataset does not name it).

    Raises:
        InputError: if the library or the dataset is missing, the dataset is empty, or observations or actions are not
            vectors.
    """
    dataset = open_minari(dataset_id)
    digest = hashlib.sha256(dataset_id.encode())
    episodes = []
    for recorded in dataset.iterate_episodes():
        episode = _episode(recorded, dataset_id)
        for array in (episode.observations, episode.actions, episode.rewards, episode.final_observation):
            digest.update(array.tobytes())
        digest.update(bytes([episode.terminated]))
        episodes.append(episode)
    if not episodes:
        raise InputError(f"The Minari dataset {dataset_id} contains no episodes.")
    environment = dataset.spec.env_spec.id if dataset.spec.env_spec else None
    return episodes, digest.hexdigest(), {"minari": dataset_id, "environment": environment}


def _episode(recorded: Any, dataset_id: str) -> Episode:
    for name in ("observations", "actions"):
        array = getattr(recorded, name)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
            raise InputError(f"In the Minari dataset {dataset_id}, {name} are not vectors of real numbers.")
    terminated = bool(recorded.terminations[-1])
    observations = recorded.observations.astype(np.float32)  # [T + 1, o]; the last one follows the last action
    try:
        return Episode(
            observations=observations[:-1],
            actions=recorded.actions.astype(np.float32),
            rewards=np.asarray(recorded.rewards, np.float32),
            terminated=terminated,
            truncated=not terminated,
            final_observation=observations[-1],
        )
    except InputError as error:
        raise InputError(f"Episode {recorded.id} of the Minari dataset {dataset_id} cannot be used: {error}") from error
