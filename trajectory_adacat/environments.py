"""Environments by name: ``make_environment("hopper-medium-v2")`` is a Hopper with the dynamics of D4RL's data.

Importing this module registers the environments with v2 dynamics (``trajectory_adacat/Hopper-v2`` and so on) with
Gymnasium. It imports neither MuJoCo nor torch.
"""

import difflib
import importlib
import importlib.metadata
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec, register, registry

from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import (
    MAX_EPISODE_STEPS,
    ROBOTS,
    Robot,
    collected_datasets,
    find_dataset,
    named_datasets,
    official_datasets,
)

Dynamics = Literal["v2", "native"]

OFFICIAL_DATASETS = tuple(official_datasets())
COLLECTED_DATASETS = tuple(collected_datasets())
MINARI_PREFIX = "minari:"
RENDERING = {"render_mode", "width", "height", "camera_id", "camera_name", "default_camera_config"}


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
            ``trajectory_adacat/Hopper-v2``, any registered id), ``module:id`` with the module that registers the id,
            or ``minari:`` and a Minari dataset's id. The module may lie in the current directory.
        dynamics: ``v2`` for those of MuJoCo 2.1.0, ``native`` for those of the installed MuJoCo. None chooses v2 for
            official and collected datasets; any other environment keeps its own.

    Raises:
        InputError: if the name is unknown, its module cannot be imported, or the environment does not offer these
            dynamics.
    """
    if dynamics not in (None, "v2", "native"):
        raise InputError(f"dynamics must be 'v2' or 'native', got {dynamics!r}.")
    dataset = find_dataset(name)
    if dataset is None:
        return _choose_by_id(name, dynamics)
    if dynamics == "native":
        return EnvironmentChoice(dataset.robot.native_id, "native")
    return EnvironmentChoice(dataset.robot.corrected_id, "v2")


def _choose_by_id(name: str, dynamics: Dynamics | None) -> EnvironmentChoice:
    from_minari = name.startswith(MINARI_PREFIX)
    registered = name if from_minari else _import_module_of(name)
    for robot in ROBOTS.values():
        if registered == robot.corrected_id:
            if dynamics == "native":
                raise InputError(f"{name} always has v2 dynamics; for native dynamics use {robot.native_id}.")
            return EnvironmentChoice(registered, "v2")
        if registered == robot.native_id:
            return EnvironmentChoice(robot.corrected_id if dynamics == "v2" else registered, dynamics or "native")
    if not from_minari:
        _check_registered(name)
    if dynamics == "v2":
        known = ", ".join(robot.native_id for robot in ROBOTS.values())
        raise InputError(
            f"{name} has no v2 dynamics. Official and collected datasets have them, and so do the environments {known}."
        )
    return EnvironmentChoice(name, "native")


def _import_module_of(name: str) -> str:
    """Import the module of ``module:id``, if there is one, and return the id.

    The current directory is put first on the path of imports, as ``python -m`` does.
    """
    module, _, registered = name.rpartition(":")
    if not module:
        return name
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(
                f"Unknown environment {name!r}: there is no module {module!r} in the current directory or among the "
                "installed packages. Run the command in the folder that holds the module, or install its package."
            ) from error
        raise InputError(f"The module {module!r} of the environment {name!r} needs another one: {error}.") from error
    except Exception as error:
        raise InputError(
            f"The module of the environment {name!r} cannot be imported: {describe_error(error)}"
        ) from error
    return registered


def describe_error(error: BaseException) -> str:
    """Return an exception's type and message with the place where it was raised, on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _check_registered(name: str) -> None:
    registered = name.rpartition(":")[2]
    try:
        gymnasium.spec(registered)
    except (gymnasium.error.Error, ModuleNotFoundError, ValueError) as error:
        known = [*named_datasets(), *(known for known in registry if not _is_legacy(known))]
        near = difflib.get_close_matches(registered, known, n=3, cutoff=0.8)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "give a dataset's name, a registered Gymnasium id, or module:id with the module that registers the id."
        )
        raise InputError(f"Unknown environment {name!r}: {hint}") from error


def _is_legacy(registered: str) -> bool:
    """Return whether an id is one of the -v2 and -v3 robots that need mujoco-py, which Gymnasium has moved away."""
    match = re.fullmatch(r"(\w+)-v[23]", registered)
    successor = registry.get(f"{match[1]}-v4") if match else None
    return successor is not None and str(successor.entry_point).startswith("gymnasium.envs.mujoco")


def dynamics_of(name: str, dynamics: Dynamics | None = None) -> Dynamics:
    """Return the dynamics of the environment that :func:`make_environment` makes for these arguments.

    Raises:
        InputError: as :func:`choose_environment`.
    """
    return choose_environment(name, dynamics).dynamics


@dataclass(frozen=True)
class EnvironmentSource:
    """All that it takes to make an environment, in any process.

    Args:
        name: a dataset's name or a Gymnasium id; see :func:`choose_environment`.
        dynamics: see :func:`choose_environment`.
        options: passed to ``gymnasium.make``, for example ``{"render_mode": "rgb_array"}``.
        specification: the JSON text of Gymnasium's specification of a ``minari:`` environment; by default it is read
            from the Minari dataset.
    """

    name: str
    dynamics: Dynamics | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    specification: str | None = None

    def make(self) -> gymnasium.Env:
        """Make the environment with Gymnasium's usual wrappers and time limit.

        Raises:
            InputError: as :func:`choose_environment`, if a Minari dataset is missing or has no environment, or if the
                environment cannot be made.
        """
        choice = choose_environment(self.name, self.dynamics)
        if choice.id.startswith(MINARI_PREFIX):
            specification = self._minari_specification()
            return self._call(lambda: gymnasium.make(specification, **self.options))
        return self._call(lambda: gymnasium.make(choice.id.rpartition(":")[2], **self.options))

    def _call(self, make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
        try:
            return make()
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "mujoco":
                raise  # the command names the extra that installs it
            raise InputError(self._why_not(error)) from error

    def _why_not(self, error: Exception) -> str:
        registered = self.name.rpartition(":")[2]
        if _is_legacy(registered):
            stem = registered.rpartition("-")[0]
            robot = ROBOTS.get(stem.lower())
            instead = f"the current versions are {stem}-v4 and {stem}-v5."
            if robot is not None:
                instead = f"D4RL's {stem} is {robot.corrected_id}, or a dataset's name such as {robot.id}-medium-v2."
            return f"The environment {self.name!r} needs mujoco-py, which Gymnasium no longer supports: {instead}"
        if isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled):
            return f"The environment {self.name!r} needs a package that is not installed: {error}"
        given = f" with --env_kwargs {json.dumps(self.options, default=str)}" if self.options else ""
        return f"The environment {self.name!r} cannot be made{given}: {describe_error(error.__cause__ or error)}"

    def _minari_specification(self) -> EnvSpec:
        if self.specification is None:
            return _minari_environment_spec(self.name)
        try:
            specification = EnvSpec.from_json(self.specification)
            _check_entry_points(specification)
            return specification
        except Exception as error:
            raise InputError(
                f"The specification of {self.name} in the checkpoint cannot be read ({describe_error(error)}): name "
                "the environment with --environment."
            ) from error

    def info(self) -> dict[str, Any]:
        """Describe the environment for results: its id, options and dynamics, the versions of Gymnasium and MuJoCo.

        Options and MuJoCo are left out where there are none.

        Raises:
            InputError: as :func:`choose_environment`.
        """
        choice = choose_environment(self.name, self.dynamics)
        from_minari = choice.id.startswith(MINARI_PREFIX)
        return {
            "environment": self._minari_specification().id if from_minari else choice.id,
            "dynamics": choice.dynamics,
            **({"env_kwargs": dict(self.options)} if self.options else {}),
            **_versions("gymnasium", "mujoco"),
        }

    def robot(self) -> Robot | None:
        """Return the robot whose body and rewards this environment has, or None for any other environment.

        An environment of the user's own that is registered under a robot's id is not that robot, nor is one with
        options that may change its rewards or the length of its episodes.

        Raises:
            InputError: as :func:`choose_environment`.
        """
        choice = choose_environment(self.name, self.dynamics)
        for robot in ROBOTS.values():
            if choice.id in (robot.corrected_id, robot.native_id):
                spec = registry[choice.id]
                entry_point = str(spec.entry_point)
                original = (
                    entry_point == robot.entry_point
                    if choice.id == robot.corrected_id
                    else entry_point.startswith("gymnasium.envs.mujoco.")
                )
                unchanged = not spec.kwargs and not spec.additional_wrappers and self.options.keys() <= RENDERING
                return robot if original and unchanged and spec.max_episode_steps == MAX_EPISODE_STEPS else None
        return None

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint records, so that planning needs neither the flags nor the Minari dataset.

        Besides the name, this is the options, and for a Minari dataset the specification of its environment and the
        returns that score 0 and 100 (``ref_min_score``, ``ref_max_score``), each where it exists.
        """
        recorded: dict[str, Any] = {"environment": self.name}
        if self.options:
            recorded["env_kwargs"] = dict(self.options)
        if self.name.startswith(MINARI_PREFIX):
            dataset = open_minari(self.name.removeprefix(MINARI_PREFIX))
            recorded |= _minari_record(dataset, scored=self.options.keys() <= RENDERING)
        return recorded

    @classmethod
    def from_record(
        cls,
        recorded: Mapping[str, Any],
        name: str | None = None,
        dynamics: Dynamics | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "EnvironmentSource | None":
        """Return the environment that a checkpoint records, with ``name`` and ``options`` in place of its own.

        The recorded options belong to the recorded environment: another ``name`` starts without any. The result is
        None where neither names an environment.
        """
        own = recorded.get("environment")
        name = own if name is None else name
        if name is None:
            return None
        if name != own:
            return cls(name, dynamics, options or {})
        kept = recorded.get("env_kwargs", {}) if options is None else options
        return cls(name, dynamics, kept, recorded.get("environment_specification"))


def _check_entry_points(specification: EnvSpec) -> None:
    """Check that a specification from a checkpoint calls nothing but registered environments and Gymnasium's wrappers.

    Raises:
        ValueError: naming what else it would call.
    """
    registered = {spec.entry_point for spec in registry.values()}
    called = [specification.entry_point, specification.vector_entry_point]
    foreign = [name for name in called if name is not None and name not in registered]
    wrappers = [wrapper.entry_point for wrapper in specification.additional_wrappers]
    foreign += [name for name in wrappers if not str(name).startswith("gymnasium.wrappers.")]
    if foreign:
        raise ValueError(f"it would call {foreign[0]!r}, which is not registered with Gymnasium")


def _minari_record(dataset: Any, scored: bool) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if dataset.spec.env_spec is not None:
        record["environment_specification"] = dataset.spec.env_spec.to_json()
    low, high = (dataset.storage.metadata.get(key) for key in ("ref_min_score", "ref_max_score"))
    if scored and low is not None and high is not None:
        record["reference_returns"] = [float(low), float(high)]
    return record


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # an environment of the user's own may not need it
            continue
    return found


def read_options(text: str | None) -> dict[str, Any] | None:
    """Read the JSON object that ``--env_kwargs`` gives; None stays None.

    Raises:
        InputError: if the text is not a JSON object.
    """
    if text is None:
        return None
    try:
        options = json.loads(text)
    except ValueError as error:
        raise InputError(f"--env_kwargs {text} is not JSON ({error}): write it like '{{\"size\": 3}}'.") from error
    if not isinstance(options, dict):
        raise InputError(f"--env_kwargs {text} is not a JSON object: write it like '{{\"size\": 3}}'.")
    return options


def make_environment(name: str, dynamics: Dynamics | None = None, **options: Any) -> gymnasium.Env:
    """Make an environment; arguments and errors are those of :class:`EnvironmentSource`."""
    return EnvironmentSource(name, dynamics, options).make()


def time_limit(environment: gymnasium.Env) -> int | None:
    """Return after how many steps Gymnasium truncates the environment's episodes; None if it never does."""
    limits = []
    wrapper: Any = environment
    while isinstance(wrapper, gymnasium.Wrapper):
        if isinstance(wrapper, gymnasium.wrappers.TimeLimit):
            limits.append(wrapper._max_episode_steps)
        wrapper = wrapper.env
    return min(limits, default=None)


def check_sizes(environment: gymnasium.Env, observation_size: int, action_size: int, owner: str) -> None:
    """Check that an environment has vectors of these sizes; ``owner`` names in the error what has them.

    Raises:
        InputError: if it does not.
    """
    for name, space, expected in (
        ("observations", environment.observation_space, observation_size),
        ("actions", environment.action_space, action_size),
    ):
        if space.shape != (expected,):
            raise InputError(
                f"The {owner}'s {name} have {expected} dimensions, the environment's have shape {space.shape}: "
                "choose the --environment that the dataset was collected in."
            )


def open_minari(dataset_id: str) -> Any:
    """Open a local Minari dataset (``minari.MinariDataset``).

    Raises:
        InputError: if the library or the dataset is missing, or the dataset cannot be read.
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
    except Exception as error:  # the library has no error of its own for damaged data and for other versions' formats
        raise InputError(
            f"The Minari dataset {dataset_id} cannot be read ({describe_error(error)}): download it again with "
            f"`minari download {dataset_id}`, or install the version of minari that made it."
        ) from error


def _minari_environment_spec(name: str) -> EnvSpec:
    spec = open_minari(name.removeprefix(MINARI_PREFIX)).spec.env_spec
    if spec is None:
        raise InputError(f"{name} does not name its environment: give one with --environment.")
    return spec


def environment_info(name: str, dynamics: Dynamics | None = None) -> dict[str, Any]:
    """Describe an environment without options for results; see :meth:`EnvironmentSource.info`."""
    return EnvironmentSource(name, dynamics).info()


register_environments()
