"""Environments by name: ``make_environment("hopper-medium-v2")`` is a Hopper with the dynamics of D4RL's data.

Importing this module registers the corrected robots with Gymnasium as ``trajectory_adacat/Hopper-v2`` (and
HalfCheetah, Walker2d, Ant). It imports neither MuJoCo nor torch.
"""

import difflib
import importlib.metadata
from typing import Any, Literal, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec, register, registry

from trajectory_adacat.errors import InputError

Dynamics = Literal["v2", "native"]

ROBOTS = {"halfcheetah": "HalfCheetah", "hopper": "Hopper", "walker2d": "Walker2d", "ant": "Ant"}
VERIFIED_ROBOTS = ("halfcheetah", "hopper", "walker2d", "ant")  # those that tests compare with the old engine
COLLECTED_ROBOTS = ("halfcheetah", "hopper", "walker2d")  # those that a behaviour policy ships for
QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")

OFFICIAL_DATASETS = tuple(f"{robot}-{quality}-v2" for robot in ROBOTS for quality in QUALITIES)
COLLECTED_DATASETS = tuple(
    f"{robot}-{quality}-collected" for robot in COLLECTED_ROBOTS for quality in ("medium", "random")
)
MINARI_PREFIX = "minari:"

CORRECTED_IDS = {robot: f"trajectory_adacat/{name}-v2" for robot, name in ROBOTS.items()}
NATIVE_IDS = {robot: f"{name}-v4" for robot, name in ROBOTS.items()}


class EnvironmentChoice(NamedTuple):
    """What a name means: a Gymnasium id (or ``minari:...``), its dynamics, and the robot where it is one of D4RL's."""

    id: str
    dynamics: Dynamics
    robot: str | None


def register_environments() -> None:
    """Register the corrected robots with Gymnasium; calling it again changes nothing."""
    for robot, name in ROBOTS.items():
        if CORRECTED_IDS[robot] not in registry:
            entry_point = f"trajectory_adacat.dynamics:{name}V2"
            register(CORRECTED_IDS[robot], entry_point=entry_point, max_episode_steps=1000)


def dataset_robot(name: str) -> str | None:
    """The robot of an official or collected dataset's name, None for any other name."""
    return name.partition("-")[0] if name in OFFICIAL_DATASETS + COLLECTED_DATASETS else None


def choose_environment(name: str, dynamics: Dynamics | None = None) -> EnvironmentChoice:
    """Resolve a dataset's name or a Gymnasium id.

    Args:
        name: an official or collected dataset (``hopper-medium-v2``), a Gymnasium id (``Hopper-v4``,
            ``trajectory_adacat/Hopper-v2``, any registered id), or ``minari:`` and a Minari dataset's id.
        dynamics: ``v2`` for the old engine's, ``native`` for the installed one's; None means v2 for official and
            collected datasets and what the environment itself has for all else.

    Raises:
        InputError: if nothing has this name, or if the environment cannot have these dynamics.
    """
    if dynamics not in (None, "v2", "native"):
        raise InputError(f"dynamics must be 'v2' or 'native', got {dynamics!r}.")
    robot = dataset_robot(name)
    if robot is not None:
        dynamics = dynamics or "v2"
        return EnvironmentChoice(CORRECTED_IDS[robot] if dynamics == "v2" else NATIVE_IDS[robot], dynamics, robot)
    return _choose_by_id(name, dynamics)


def _choose_by_id(name: str, dynamics: Dynamics | None) -> EnvironmentChoice:
    for robot in ROBOTS:
        if name == CORRECTED_IDS[robot]:
            if dynamics == "native":
                raise InputError(f"{name} has v2 dynamics by definition; for native ones use {NATIVE_IDS[robot]}.")
            return EnvironmentChoice(name, "v2", robot)
        if name == NATIVE_IDS[robot]:
            return EnvironmentChoice(name if dynamics != "v2" else CORRECTED_IDS[robot], dynamics or "native", robot)
    if not name.startswith(MINARI_PREFIX):
        _check_registered(name)
    if dynamics == "v2":
        known = ", ".join(NATIVE_IDS.values())
        raise InputError(f"{name} has no v2 dynamics: they exist for D4RL and collected datasets and for {known}.")
    return EnvironmentChoice(name, "native", None)


def _check_registered(name: str) -> None:
    try:
        gymnasium.spec(name)
    except (gymnasium.error.Error, ModuleNotFoundError, ValueError) as error:
        known = [*OFFICIAL_DATASETS, *COLLECTED_DATASETS, *registry]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "give a dataset's name or a registered Gymnasium id."
        raise InputError(f"Unknown environment {name!r}: {hint}") from error


def dynamics_of(name: str, dynamics: Dynamics | None = None) -> Dynamics:
    """The dynamics that :func:`make_environment` gives for these arguments.

    Raises:
        InputError: as :func:`choose_environment`.
    """
    return choose_environment(name, dynamics).dynamics


def make_environment(name: str, dynamics: Dynamics | None = None, **options: Any) -> gymnasium.Env:
    """Make the environment of a dataset's name or of a Gymnasium id, with Gymnasium's usual wrappers and time limit.

    Args:
        name: see :func:`choose_environment`.
        dynamics: see :func:`choose_environment`.
        options: handed on to ``gymnasium.make``, for example ``render_mode="rgb_array"``.

    Raises:
        InputError: as :func:`choose_environment`, or if a Minari dataset is missing or names no environment.
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
            f"The Minari dataset {dataset_id} is not on this machine: run `minari download {dataset_id}`, or point the "
            "variable MINARI_DATASETS_PATH to the folder that holds it."
        ) from error


def _minari_environment_spec(name: str) -> EnvSpec:
    spec = open_minari(name.removeprefix(MINARI_PREFIX)).spec.env_spec
    if spec is None:
        raise InputError(f"{name} names no environment: give one by --environment.")
    return spec


def environment_info(name: str, dynamics: Dynamics | None = None) -> dict[str, Any]:
    """What must stand in every result: the environment's id, its dynamics, and the versions that made them.

    ``dynamics_verified`` says whether v2 dynamics were checked against recordings of the old engine; it is None for
    native dynamics.

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
        "dynamics_verified": choice.robot in VERIFIED_ROBOTS if choice.dynamics == "v2" else None,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "mujoco": importlib.metadata.version("mujoco"),
    }


register_environments()
