"""Environments by name: ``make_environment("hopper-medium-v2")`` is a Hopper with the dynamics of D4RL's data.

Importing this module registers the environments with v2 dynamics (``trajectory_adacat/Hopper-v2`` and so on) with
Gymnasium. It imports neither MuJoCo nor torch.
"""

import difflib
import importlib.metadata
from typing import Any, Literal, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec, register, registry

from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import MAX_EPISODE_STEPS, ROBOTS, collected_datasets, named_datasets, official_datasets

Dynamics = Literal["v2", "native"]

OFFICIAL_DATASETS = tuple(official_datasets())
COLLECTED_DATASETS = tuple(collected_datasets())
MINARI_PREFIX = "minari:"


class EnvironmentChoice(NamedTuple):
    """An environment's Gymnasium id (or ``minari:...``) and its dynamics."""

    id: str
    dynamics: Dynamics


def register_environments() -> None:
    """Register every robot's environment with v2 dynamics; those already registered stay as they are."""
    for robot in ROBOTS.values():
        if robot.corrected_id not in registry:
            register(robot.corrected_id, entry_point=robot.entry_point, max_episode_steps=MAX_EPISODE_STEPS)


def choose_environment(name: str, dynamics: Dynamics | None = None) -> EnvironmentChoice:
    """Resolve a dataset's name or a Gymnasium id.

    Args:
        name: an official or collected dataset (``hopper-medium-v2``), a Gymnasium id (``Hopper-v4``,
            ``trajectory_adacat/Hopper-v2``, any registered id), or ``minari:`` and a Minari dataset's id.
        dynamics: ``v2`` for those of MuJoCo 2.1.0, ``native`` for those of the installed MuJoCo. None chooses v2 for
            official and collected datasets; any other environment keeps its own.

    Raises:
        InputError: if the name is unknown, or the environment does not offer these dynamics.
    """
    if dynamics not in (None, "v2", "native"):
        raise InputError(f"dynamics must be 'v2' or 'native', got {dynamics!r}.")
    dataset = named_datasets().get(name)
    if dataset is None:
        return _choose_by_id(name, dynamics)
    if dynamics == "native":
        return EnvironmentChoice(dataset.robot.native_id, "native")
    return EnvironmentChoice(dataset.robot.corrected_id, "v2")


def _choose_by_id(name: str, dynamics: Dynamics | None) -> EnvironmentChoice:
    for robot in ROBOTS.values():
        if name == robot.corrected_id:
            if dynamics == "native":
                raise InputError(f"{name} always has v2 dynamics; for native dynamics use {robot.native_id}.")
            return EnvironmentChoice(name, "v2")
        if name == robot.native_id:
            return EnvironmentChoice(robot.corrected_id if dynamics == "v2" else name, dynamics or "native")
    if not name.startswith(MINARI_PREFIX):
        _check_registered(name)
    if dynamics == "v2":
        known = ", ".join(robot.native_id for robot in ROBOTS.values())
        raise InputError(
            f"{name} has no v2 dynamics. Official and collected datasets have them, and so do the environments {known}."
        )
    return EnvironmentChoice(name, "native")


def _check_registered(name: str) -> None:
    try:
        gymnasium.spec(name)
    except (gymnasium.error.Error, ModuleNotFoundError, ValueError) as error:
        near = difflib.get_close_matches(name, [*named_datasets(), *registry], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "give a dataset's name or a registered Gymnasium id."
        raise InputError(f"Unknown environment {name!r}: {hint}") from error


def dynamics_of(name: str, dynamics: Dynamics | None = None) -> Dynamics:
    """Return the dynamics of the environment that :func:`make_environment` makes for these arguments.

    Raises:
        InputError: as :func:`choose_environment`.
    """
    return choose_environment(name, dynamics).dynamics


def make_environment(name: str, dynamics: Dynamics | None = None, **options: Any) -> gymnasium.Env:
    """Make an environment with Gymnasium's usual wrappers and time limit.

    Args:
        name: a dataset's name or a Gymnasium id; see :func:`choose_environment`.
        dynamics: see :func:`choose_environment`.
        options: passed to ``gymnasium.make``, for example ``render_mode="rgb_array"``.

    Raises:
        InputError: as :func:`choose_environment`, or if a Minari dataset is missing or has no environment.
    """
    choice = choose_environment(name, dynamics)
    from_minari = choice.id.startswith(MINARI_PREFIX)
    return gymnasium.make(_minari_environment_spec(choice.id) if from_minari else choice.id, **options)


def open_minari(dataset_id: str) -> Any:
    """Open a local Minari dataset (``minari.MinariDataset``).

    Raises:
        InputError: if the library or the dataset is missing.
    """
    try:
        import minari
    except ImportError as error:
        raise InputError("Minari datasets need the minari library: pip install trajectory-adacat[minari]") from error
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise InputError(
            f"The Minari dataset {dataset_id} is not on this machine. Run `minari download {dataset_id}`, or set the "
            "variable MINARI_DATASETS_PATH to the folder that contains it."
        ) from error


def _minari_environment_spec(name: str) -> EnvSpec:
    spec = open_minari(name.removeprefix(MINARI_PREFIX)).spec.env_spec
    if spec is None:
        raise InputError(f"{name} does not name its environment: give one with --environment.")
    return spec


def environment_info(name: str, dynamics: Dynamics | None = None) -> dict[str, Any]:
    """Describe an environment for results: its id, its dynamics, and the versions of Gymnasium and MuJoCo.

    Raises:
        InputError: as :func:`choose_environment`.
    """
    choice = choose_environment(name, dynamics)
    environment = choice.id
    if environment.startswith(MINARI_PREFIX):
        environment = _minari_environment_spec(environment).id
    return {
        "environment": environment,
        "dynamics": choice.dynamics,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "mujoco": importlib.metadata.version("mujoco"),
    }


register_environments()
