"""Collect datasets: run a behaviour policy in MuJoCo and write a D4RL-format HDF5 file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
from tqdm import tqdm

import trajectory_adacat
from trajectory_adacat.datasets.cache import cache_root
from trajectory_adacat.datasets.policies import BehaviorPolicy, load_policy, policy_sha256
from trajectory_adacat.environments import Dynamics, environment_info, make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import MAX_EPISODE_STEPS, NamedDataset, collected_datasets

if TYPE_CHECKING:  # reading datasets does not load MuJoCo
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

DEFAULT_TRANSITIONS = 100_000
DEFAULT_SEED = 0


def collected_path(
    name: str, transitions: int = DEFAULT_TRANSITIONS, seed: int = DEFAULT_SEED, dynamics: Dynamics = "v2"
) -> Path:
    """Return the path in the cache of a collected dataset's file."""
    suffix = "" if dynamics == "v2" else f"-{dynamics}"
    return cache_root() / "collected" / f"{name}-{transitions}-seed{seed}{suffix}.hdf5"


def has_provenance_of(dataset: NamedDataset, attributes: dict[str, Any]) -> bool:
    """Return whether a file's attributes name this dataset, this package's policy for it, and v2 dynamics."""
    policy = policy_sha256(dataset.robot, dataset.quality)
    expected = {"dataset": dataset.name, "dynamics": "v2", "policy_sha256": policy}
    return all(attributes.get(key) == value for key, value in expected.items())


@dataclass(frozen=True, eq=False)
class Recording:
    """Arrays of N transitions in the layout of D4RL's files.

    ``infos`` contains ``action_log_probs`` ``[N]`` and the state before each action, ``qpos`` ``[N, q]`` and ``qvel``
    ``[N, v]``, all float64.
    """

    observations: np.ndarray  # [N, o] float32
    actions: np.ndarray  # [N, a] float32
    next_observations: np.ndarray  # [N, o] float32
    rewards: np.ndarray  # [N] float32
    terminals: np.ndarray  # [N] bool
    timeouts: np.ndarray  # [N] bool
    infos: dict[str, np.ndarray]

    @classmethod
    def empty(cls, size: int, env: "MujocoEnv") -> "Recording":
        """Allocate arrays for ``size`` transitions of ``env``."""
        (observation_size,), (action_size,) = env.observation_space.shape or (0,), env.action_space.shape or (0,)
        return cls(
            np.empty((size, observation_size), np.float32),
            np.empty((size, action_size), np.float32),
            np.empty((size, observation_size), np.float32),
            np.empty(size, np.float32),
            np.zeros(size, bool),
            np.zeros(size, bool),
            {
                "action_log_probs": np.empty(size),
                "qpos": np.empty((size, env.model.nq)),
                "qvel": np.empty((size, env.model.nv)),
            },
        )


def roll_out(env: "MujocoEnv", policy: BehaviorPolicy, transitions: int, seed: int, description: str) -> Recording:
    """Record ``transitions`` steps of ``policy``, deterministically for a seed.

    Episodes end by termination or after 1000 steps. The last one may end without a flag, as in D4RL's files.
    """
    record = Recording.empty(transitions, env)
    noise = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    steps = 0
    for row in tqdm(range(transitions), desc=description, unit="step", mininterval=0.5):
        action, log_prob = policy.act(observation, noise)
        record.observations[row], record.actions[row] = observation, action
        record.infos["action_log_probs"][row] = log_prob
        record.infos["qpos"][row], record.infos["qvel"][row] = env.data.qpos, env.data.qvel
        observation, reward, terminated, _, _ = env.step(action)
        steps += 1
        record.next_observations[row], record.rewards[row] = observation, reward
        record.terminals[row] = terminated
        record.timeouts[row] = steps == MAX_EPISODE_STEPS and not terminated
        if terminated or steps == MAX_EPISODE_STEPS:
            observation, _ = env.reset()
            steps = 0
    return record


def write_recording(record: Recording, path: Path, provenance: dict[str, Any]) -> None:
    """Write a D4RL-format HDF5 file atomically, with ``provenance`` as its attributes."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(part, "w") as file:
            for name in ("observations", "actions", "next_observations", "rewards", "terminals", "timeouts"):
                file.create_dataset(name, data=getattr(record, name))
            for name, array in record.infos.items():
                file.create_dataset(f"infos/{name}", data=array)
            file.attrs.update(provenance)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def collect(
    name: str,
    transitions: int = DEFAULT_TRANSITIONS,
    seed: int = DEFAULT_SEED,
    dynamics: Dynamics = "v2",
    path: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Collect a dataset into a D4RL-format HDF5 file, deterministically for a seed.

    Args:
        name: one of ``COLLECTED_DATASETS``, such as ``hopper-medium-collected``.
        transitions: the number of environment steps to record.
        seed: of the environment and of the policy's noise.
        dynamics: of the environment. A file with native dynamics is read as unverified.
        path: the file to write; None means :func:`collected_path`.
        overwrite: whether to replace an existing file.

    Returns:
        The path of the file.

    Raises:
        InputError: if the name is unknown, a number is out of range, or the file exists or cannot be written.
    """
    dataset = collected_datasets().get(name)
    if dataset is None:
        raise InputError(f"{name!r} cannot be collected: choose one of {', '.join(collected_datasets())}.")
    if transitions < 1 or seed < 0:
        raise InputError(f"transitions must be at least 1 and seed at least 0, got {transitions} and {seed}.")
    path = path or collected_path(name, transitions, seed, dynamics)
    _prepare(path, overwrite)
    env = cast("MujocoEnv", make_environment(name, dynamics).unwrapped)
    policy = load_policy(dataset.robot, dataset.quality)
    record = roll_out(env, policy, transitions, seed, f"collecting {name}")
    env.close()
    write_recording(record, path, _provenance(dataset, transitions, seed, dynamics))
    return path


def _prepare(path: Path, overwrite: bool) -> None:
    """Create the folder of ``path``; refuse an existing file unless ``overwrite`` is set."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: pass --overwrite to replace it, or another --output.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}): choose another --output.") from error


def _provenance(dataset: NamedDataset, transitions: int, seed: int, dynamics: Dynamics) -> dict[str, Any]:
    info = environment_info(dataset.name, dynamics)
    # No longer read. Kept in its place so that the file's bytes, and the SHA-256 in checkpoints, stay the same.
    verified = {"dynamics_verified": True} if dynamics == "v2" else {}
    return {
        "dataset": dataset.name,
        "transitions": transitions,
        "seed": seed,
        "policy_sha256": policy_sha256(dataset.robot, dataset.quality),
        "trajectory_adacat": trajectory_adacat.__version__,
        "numpy": np.__version__,
        "environment": info["environment"],
        "dynamics": info["dynamics"],
        **verified,
        **info,
    }
