"""Collect datasets: run a behaviour policy in MuJoCo and write a D4RL-format HDF5 file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import h5py
import numpy as np
from tqdm import tqdm

import trajectory_adacat
from trajectory_adacat.datasets.cache import cache_root, file_sha256
from trajectory_adacat.datasets.policies import BehaviorPolicy, ModePolicy, load_policy, policy_sha256
from trajectory_adacat.datasets.policy_files import policy_sizes, read_policy
from trajectory_adacat.environments import Dynamics, environment_info, make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.files import expand, remove_left_over
from trajectory_adacat.robots import (
    COLLECTED,
    MAX_EPISODE_STEPS,
    ROBOTS,
    NamedDataset,
    collected_datasets,
    find_dataset,
)

if TYPE_CHECKING:  # reading datasets does not load MuJoCo
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

DEFAULT_TRANSITIONS = 100_000
DEFAULT_SEED = 0
LARGEST_SEED = 2**63 - 1  # what an HDF5 file's attribute holds

Actions = Literal["sampled", "mode"]


def collected_path(
    name: str, transitions: int = DEFAULT_TRANSITIONS, seed: int = DEFAULT_SEED, dynamics: Dynamics = "v2"
) -> Path:
    """Return the path in the cache of a collected dataset's file.

    A name of the user's own has one file for each dynamics, whatever its size and seed.
    """
    dataset = find_dataset(name)
    numbers = "" if dataset and dataset.is_own else f"-{transitions}-seed{seed}"
    suffix = "" if dynamics == "v2" else f"-{dynamics}"
    return cache_root() / "collected" / f"{name}{numbers}{suffix}.hdf5"


def own_dataset(name: str) -> NamedDataset:
    """Return the dataset of a name of the user's own: ``hopper-expert`` or ``hopper-expert-collected``.

    Raises:
        InputError: if the name does not begin with a robot, has other characters, or stands for other data.
    """
    full = name if name.endswith(COLLECTED) else name + COLLECTED
    dataset = find_dataset(full)
    if name.endswith("-v2"):
        raise InputError(f"--name {name}: names in -v2 are D4RL's official files. Leave out the -v2.")
    if dataset is None:
        raise InputError(
            f"--name {name} must be a robot ({', '.join(ROBOTS)}) and words of lower-case letters and digits joined by "
            "hyphens, such as hopper-expert or hopper-medium-expert."
        )
    if not dataset.is_own:
        raise InputError(
            f"--name {name}: {full} is collected with the package's own policy. Choose another name, such as "
            f"{dataset.robot.id}-own-{dataset.quality}."
        )
    return dataset


def has_provenance_of(dataset: NamedDataset, attributes: dict[str, Any]) -> bool:
    """Return whether a file's attributes name this dataset and v2 dynamics, and the package's policy if it has one."""
    expected = {"dataset": dataset.name, "dynamics": "v2"}
    if not dataset.is_own:
        expected["policy_sha256"] = policy_sha256(dataset.robot, dataset.quality)
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
    """Write a D4RL-format HDF5 file atomically, with ``provenance`` as its attributes.

    Log densities are left out where the policy has none.

    Raises:
        InputError: as :func:`write_arrays`.
    """
    names = ("observations", "actions", "next_observations", "rewards", "terminals", "timeouts")
    arrays = {name: getattr(record, name) for name in names}
    has_density = not np.isnan(record.infos["action_log_probs"]).any()
    infos = {f"infos/{key}": array for key, array in record.infos.items() if has_density or key != "action_log_probs"}
    write_arrays({**arrays, **infos}, path, provenance)


def write_arrays(arrays: dict[str, np.ndarray], path: Path, attributes: dict[str, Any]) -> None:
    """Write an HDF5 file atomically.

    Raises:
        InputError: if it cannot be written, for example because the disk is full.
    """
    part = _part(path)
    try:
        with h5py.File(part, "w") as file:
            remove_left_over(part, f"{path.name}.*.part")
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
            file.attrs.update(attributes)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # h5py raises both
        raise InputError(f"{path} could not be written ({error}): make room, or choose another --output.") from error
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """Return the name of the file while it is written."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


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
        name: a dataset with a policy of the package, one of ``COLLECTED_DATASETS``.
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
        raise InputError(
            f"{name!r} cannot be collected: choose one of {', '.join(collected_datasets())}, or collect data of "
            "your own policy with --policy FILE --name hopper-expert."
        )
    policy = load_policy(dataset.robot, dataset.quality)
    source = {"policy_sha256": policy_sha256(dataset.robot, dataset.quality)}
    path = path or collected_path(name, transitions, seed, dynamics)
    return _collect(dataset, policy, source, transitions, seed, dynamics, path, overwrite)


def collect_policy(
    name: str,
    policy_path: Path,
    actions: Actions = "sampled",
    statistics: Path | None = None,
    transitions: int = DEFAULT_TRANSITIONS,
    seed: int = DEFAULT_SEED,
    dynamics: Dynamics = "v2",
    path: Path | None = None,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Collect a dataset of the user's own policy.

    Args:
        name: of the dataset; see :func:`own_dataset`.
        policy_path: an npz or the zip of a Stable-Baselines3 agent; see :func:`read_policy`.
        actions: ``sampled``, or the policy's ``mode``, whose actions have no log density.
        statistics: of the observations, for an agent trained on normalized ones; see :func:`read_policy`.
        transitions: see :func:`collect`, as all that follow.

    Returns:
        The path of the file, and lines about what had to be assumed of the policy.

    Raises:
        InputError: for a bad name or policy, and as :func:`collect`.
    """
    dataset = own_dataset(name)
    read = read_policy(policy_path, statistics)
    sizes = (dataset.robot.observation_size, dataset.robot.action_size)
    if policy_sizes(read.actor) != sizes:
        raise InputError(
            f"{policy_path} is no policy of {dataset.robot.id}: the sizes of its observations and actions are "
            f"{policy_sizes(read.actor)}, not {sizes}."
        )
    if read.deterministic and actions == "sampled":
        raise InputError(f"{policy_path} is an actor of {read.algorithm}, which has no noise: pass --actions mode.")
    policy = ModePolicy(read.actor) if actions == "mode" else read.actor
    source = {
        "policy_sha256": read.sha256,
        "policy": policy_path.name,
        "algorithm": read.algorithm,
        "actions": actions,
        **({"observation_statistics_sha256": file_sha256(expand(statistics))} if statistics else {}),
    }
    path = path or collected_path(dataset.name, dynamics=dynamics)
    return _collect(dataset, policy, source, transitions, seed, dynamics, path, overwrite), read.notes


def _collect(
    dataset: NamedDataset,
    policy: BehaviorPolicy,
    source: dict[str, str],
    transitions: int,
    seed: int,
    dynamics: Dynamics,
    path: Path,
    overwrite: bool,
) -> Path:
    if transitions < 1:
        raise InputError(f"transitions must be at least 1, got {transitions}.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed must lie between 0 and {LARGEST_SEED}, got {seed}.")
    prepare(path, overwrite)
    env = cast("MujocoEnv", make_environment(dataset.name, dynamics).unwrapped)
    record = roll_out(env, policy, transitions, seed, f"collecting {dataset.name}")
    env.close()
    write_recording(record, path, provenance(dataset, {"transitions": transitions, "seed": seed, **source}, dynamics))
    return path


def prepare(path: Path, overwrite: bool) -> None:
    """Create the folder of ``path`` and check that it can be written; refuse an existing file unless ``overwrite``."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give --output the name of a file in it, such as {path / 'data.hdf5'}.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: pass --overwrite to replace it, or another --output.")
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}): choose another --output.") from error


def provenance(dataset: NamedDataset, source: dict[str, Any], dynamics: Dynamics) -> dict[str, Any]:
    """Return the attributes of a dataset's file: its name, its ``source``, the environment and the versions."""
    info = environment_info(dataset.name, dynamics)
    # No longer read. Kept in its place so that the file's bytes, and the SHA-256 in checkpoints, stay the same.
    verified = {"dynamics_verified": True} if dynamics == "v2" else {}
    return {
        "dataset": dataset.name,
        **source,
        "trajectory_adacat": trajectory_adacat.__version__,
        "numpy": np.__version__,
        "environment": info["environment"],
        "dynamics": info["dynamics"],
        **verified,
        **info,
    }
