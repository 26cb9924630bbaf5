"""Collect the embedded datasets: behaviour policy -> MuJoCo -> D4RL-format HDF5."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
from tqdm import tqdm

import trajectory_adacat
from trajectory_adacat.datasets.cache import cache_root
from trajectory_adacat.datasets.policies import BehaviorPolicy, load_policy, policy_sha256
from trajectory_adacat.environments import COLLECTED_DATASETS, Dynamics, environment_info, make_environment
from trajectory_adacat.errors import InputError

if TYPE_CHECKING:  # whoever only reads datasets does not load MuJoCo
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

MAX_EPISODE_STEPS = 1000
DEFAULT_TRANSITIONS = 100_000
DEFAULT_SEED = 0


def collected_path(
    name: str, transitions: int = DEFAULT_TRANSITIONS, seed: int = DEFAULT_SEED, dynamics: Dynamics = "v2"
) -> Path:
    """Where the file of an embedded dataset is kept."""
    suffix = "" if dynamics == "v2" else f"-{dynamics}"
    return cache_root() / "collected" / f"{name}-{transitions}-seed{seed}{suffix}.hdf5"


def is_collected_as(name: str, attributes: dict[str, Any]) -> bool:
    """Whether a file's attributes say that it holds the dataset ``name``: this package's policy, with v2 dynamics."""
    expected = {"dataset": name, "dynamics": "v2", "policy_sha256": policy_sha256(*name.split("-")[:2])}
    return all(attributes.get(key) == value for key, value in expected.items())


@dataclass(frozen=True, eq=False)
class Recording:
    """Arrays of N transitions in the layout of D4RL's files; ``qpos`` and ``qvel`` are the state before the action."""

    observations: np.ndarray  # [N, o] float32
    actions: np.ndarray  # [N, a] float32
    next_observations: np.ndarray  # [N, o] float32
    rewards: np.ndarray  # [N] float32
    terminals: np.ndarray  # [N] bool
    timeouts: np.ndarray  # [N] bool
    infos: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # action_log_probs [N], qpos [N, q], qvel [N, v]: float64

    @classmethod
    def empty(cls, size: int, env: "MujocoEnv") -> "Recording":
        """Room for ``size`` transitions of ``env``."""
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
    """Record ``transitions`` steps of ``policy``; episodes end by termination or after 1000 steps.

    The same seed gives the same recording. The last episode may end without a flag, as in D4RL's files.
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
    """Write a D4RL-format HDF5 file, atomically, with ``provenance`` as its attributes."""
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
    """Collect an embedded dataset into a D4RL-format HDF5 file, deterministically for a seed.

    Args:
        name: ``{hopper,halfcheetah,walker2d}-{medium,random}-collected``.
        transitions: how many to record.
        seed: of the environment and of the policy's noise.
        dynamics: of the environment; the embedded datasets are v2.
        path: where to write; None means :func:`collected_path`.
        overwrite: replace a file that is there already.

    Returns:
        The path of the file.

    Raises:
        InputError: if the name is unknown, a number is out of range, or the file is there already or cannot be made.
    """
    if name not in COLLECTED_DATASETS:
        raise InputError(f"{name!r} cannot be collected: choose one of {', '.join(COLLECTED_DATASETS)}.")
    if transitions < 1 or seed < 0:
        raise InputError(f"transitions must be at least 1 and seed at least 0, got {transitions} and {seed}.")
    path = path or collected_path(name, transitions, seed, dynamics)
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already: give --overwrite to replace it, or another --output.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}): give another --output.") from error
    robot, quality = name.split("-")[:2]
    env = cast("MujocoEnv", make_environment(name, dynamics).unwrapped)
    policy = load_policy(robot, quality, env.model.nu)
    record = roll_out(env, policy, transitions, seed, f"collecting {name}")
    env.close()
    provenance = {
        "dataset": name,
        "transitions": transitions,
        "seed": seed,
        "policy_sha256": policy_sha256(robot, quality),
        "trajectory_adacat": trajectory_adacat.__version__,
        "numpy": np.__version__,
        **environment_info(name, dynamics),
    }
    write_recording(record, path, {key: value for key, value in provenance.items() if value is not None})
    return path
