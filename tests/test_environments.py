"""Environments by name: choice, registration, and the description in results."""

import copy
import importlib.metadata
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.environments import (
    COLLECTED_DATASETS,
    OFFICIAL_DATASETS,
    Dynamics,
    EnvironmentSource,
    choose_environment,
    dynamics_of,
    environment_info,
    make_environment,
    read_options,
    time_limit,
)
from trajectory_adacat.errors import InputError


@pytest.mark.parametrize(
    ("name", "dynamics", "environment", "resolved"),
    [
        ("hopper-medium-v2", None, "trajectory_adacat/Hopper-v2", "v2"),
        ("hopper-medium-v2", "native", "Hopper-v4", "native"),
        ("halfcheetah-medium-replay-v2", None, "trajectory_adacat/HalfCheetah-v2", "v2"),
        ("walker2d-random-collected", None, "trajectory_adacat/Walker2d-v2", "v2"),
        ("ant-full-replay-v2", "v2", "trajectory_adacat/Ant-v2", "v2"),
        ("Hopper-v4", None, "Hopper-v4", "native"),
        ("Hopper-v4", "v2", "trajectory_adacat/Hopper-v2", "v2"),
        ("trajectory_adacat/Ant-v2", None, "trajectory_adacat/Ant-v2", "v2"),
        ("Pendulum-v1", None, "Pendulum-v1", "native"),
        ("trajectory_adacat.environments:trajectory_adacat/Hopper-v2", None, "trajectory_adacat/Hopper-v2", "v2"),
        ("gymnasium.envs.mujoco:Hopper-v4", None, "Hopper-v4", "native"),
        ("gymnasium.envs.mujoco:Hopper-v4", "v2", "trajectory_adacat/Hopper-v2", "v2"),
        ("minari:mujoco/hopper/medium-v0", None, "minari:mujoco/hopper/medium-v0", "native"),
    ],
)
def test_a_name_chooses_environment_and_dynamics(
    name: str, dynamics: Dynamics | None, environment: str, resolved: str
) -> None:
    choice = choose_environment(name, dynamics)
    assert (choice.id, choice.dynamics) == (environment, resolved)
    assert dynamics_of(name, dynamics) == resolved


@pytest.mark.parametrize("name", [*OFFICIAL_DATASETS, *COLLECTED_DATASETS])
def test_every_dataset_has_a_registered_environment(name: str) -> None:
    for dynamics in ("v2", "native"):
        assert choose_environment(name, dynamics).id in gymnasium.registry


@pytest.mark.parametrize(
    ("name", "dynamics", "message"),
    [
        ("hopper-meduim-v2", None, "did you mean hopper-medium-v2"),
        ("hopper-medium-v0", None, "did you mean hopper-medium-v2"),
        ("nothing like it", None, "Unknown environment 'nothing like it'"),
        ("no_such_module:Some-v0", None, "there is no module 'no_such_module' in the current directory"),
        ("os:Some-v0", None, "Unknown environment 'os:Some-v0'"),
        (":Some-v0", None, "Unknown environment ':Some-v0'"),
        ("Hopper-v9", None, r"did you mean Hopper-v5 or Hopper-v4\?"),
        ("Hopper-v2", None, "needs mujoco-py.*trajectory_adacat/Hopper-v2.*hopper-medium-v2"),
        ("HalfCheetah-v3", None, "needs mujoco-py.*halfcheetah-medium-v2"),
        ("Humanoid-v2", None, "needs mujoco-py.*Humanoid-v4"),
        ("Pendulum-v1", "v2", "has no v2 dynamics"),
        ("Hopper-v5", "v2", "has no v2 dynamics"),
        ("minari:mujoco/hopper/medium-v0", "v2", "has no v2 dynamics"),
        ("trajectory_adacat/Hopper-v2", "native", "use Hopper-v4"),
        ("hopper-medium-v2", "v3", "must be 'v2' or 'native'"),
    ],
)
def test_unknown_names_and_unavailable_dynamics_are_refused(name: str, dynamics: Dynamics | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_environment(name, dynamics)


def test_a_distant_name_is_not_suggested() -> None:
    with pytest.raises(InputError, match=r"Unknown environment 'Nope-v0': give a dataset's name") as raised:
        make_environment("Nope-v0")
    assert "did you mean" not in str(raised.value)


class Own(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment of the user's own."""

    def __init__(self, size: int = 1, fails: bool = False, **kwargs: Any) -> None:
        if fails:
            raise RuntimeError("no connection to\nthe simulator")
        self.observation_space = self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (size,))


@pytest.fixture
def own() -> Iterator[str]:
    """Return the id of an environment of the user's own without a time limit."""
    name = "TrajectoryAdacatTests/Own-v0"
    gymnasium.register(name, entry_point=Own, disable_env_checker=True)
    yield name
    del gymnasium.registry[name]


def test_options_reach_the_environment_and_its_description(own: str) -> None:
    source = EnvironmentSource(own, options={"size": 3})
    assert source.make().observation_space.shape == (3,)
    assert source.info()["env_kwargs"] == {"size": 3}
    assert "env_kwargs" not in EnvironmentSource(own).info()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fails": True}, r'cannot be made with --env_kwargs {"fails": true}: RuntimeError: no connection to the sim'),
        ({"size": "many"}, r"cannot be made with --env_kwargs .*TypeError"),
    ],
)
def test_an_environment_that_cannot_be_made_is_refused_in_one_paragraph(
    own: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        EnvironmentSource(own, options=options).make()
    assert "\n" not in str(raised.value)


def test_a_wrong_keyword_argument_is_named() -> None:
    with pytest.raises(InputError, match=r'Hopper-v5.*--env_kwargs {"wind": 1}.*unexpected keyword argument'):
        make_environment("Hopper-v5", wind=1)


def test_a_missing_package_is_named(own: str) -> None:
    def needs_package(**_: Any) -> gymnasium.Env:
        raise gymnasium.error.DependencyNotInstalled("Some2D is not installed, run pip install some2d")

    gymnasium.registry[own].entry_point = needs_package
    with pytest.raises(InputError, match="needs a package that is not installed: Some2D is not installed"):
        make_environment(own)


MODULE = """
import gymnasium, helper_of_own
class Own(gymnasium.Env):
    def __init__(self, size=1):
        self.observation_space = self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (size,))
gymnasium.register("OwnOfModule-v0", entry_point=Own, max_episode_steps=7)
"""
MAKE = """
import sys
from trajectory_adacat.environments import make_environment, time_limit
from trajectory_adacat.errors import InputError
try:
    env = make_environment("module_of_own:OwnOfModule-v0", size=4)
    print(env.observation_space.shape, time_limit(env))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("helper", "printed"),
    [
        ("", "(4,) 7\n"),
        (
            "import no_such_package",
            "module 'module_of_own' of the environment .* needs another one: No module named 'no_",
        ),
        ("\n1 / 0", "'module_of_own:OwnOfModule-v0' cannot be imported: ZeroDivisionError.*helper_of_own.py, line 2"),
        (None, "needs another one: No module named 'helper_of_own'"),
    ],
)
def test_a_module_beside_the_current_directory_registers_an_environment(
    tmp_path: Path, helper: str | None, printed: str
) -> None:
    (tmp_path / "module_of_own.py").write_text(MODULE)
    if helper is not None:
        (tmp_path / "helper_of_own.py").write_text(helper)
    command = [sys.executable, "-P", "-c", MAKE]  # -P: as the installed command, without the current directory
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found == printed or re.search(printed, found)


@pytest.mark.parametrize(
    ("name", "options", "robot"),
    [
        ("hopper-medium-v2", {}, "hopper"),
        ("hopper-medium-v2", {"render_mode": "rgb_array"}, "hopper"),
        ("Walker2d-v4", {}, "walker2d"),
        ("trajectory_adacat.environments:trajectory_adacat/Ant-v2", {}, "ant"),
        ("Hopper-v5", {}, None),
        ("Hopper-v4", {"forward_reward_weight": 10}, None),
        ("hopper-medium-v2", {"max_episode_steps": 3000}, None),
        ("Pendulum-v1", {}, None),
    ],
)
def test_robots_are_told_from_other_environments(name: str, options: dict[str, Any], robot: str | None) -> None:
    found = EnvironmentSource(name, options=options).robot()
    assert (None if found is None else found.id) == robot


@pytest.mark.parametrize("name", ["Hopper-v4", "trajectory_adacat/Hopper-v2"])
def test_an_own_environment_under_a_robots_id_is_not_the_robot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = copy.deepcopy(gymnasium.registry[name])
    spec.entry_point = "tests.nowhere:Own"
    monkeypatch.setitem(gymnasium.registry, name, spec)
    assert EnvironmentSource(name).robot() is None


@pytest.mark.parametrize(("name", "limit"), [("hopper-medium-v2", 1000), ("Pendulum-v1", 200)])
def test_the_time_limit_is_the_environments(name: str, limit: int) -> None:
    assert time_limit(make_environment(name)) == limit
    assert time_limit(make_environment(name, max_episode_steps=3)) == 3


def test_an_environment_may_have_no_time_limit(own: str) -> None:
    assert time_limit(make_environment(own)) is None


def test_recorded_options_belong_to_the_recorded_environment(own: str) -> None:
    recorded = EnvironmentSource(own, options={"size": 3}).record()
    for name in (None, own):
        assert EnvironmentSource.from_record(recorded, name) == EnvironmentSource(own, None, {"size": 3})
    assert EnvironmentSource.from_record(recorded, own, None, {}) == EnvironmentSource(own)
    assert EnvironmentSource.from_record(recorded, "Hopper-v4") == EnvironmentSource("Hopper-v4")
    assert EnvironmentSource.from_record({"environment": None}) is None


@pytest.mark.parametrize("text", ["size=3", "[3]", "3", "{'size': 3}", ""])
def test_options_must_be_a_json_object(text: str) -> None:
    with pytest.raises(InputError, match="--env_kwargs"):
        read_options(text)


def test_episodes_are_truncated_at_1000_steps() -> None:
    env = make_environment("halfcheetah-medium-v2")
    env.reset(seed=0)
    flags = [env.step(np.zeros(6))[2:4] for _ in range(1000)]
    assert not any(terminated or truncated for terminated, truncated in flags[:-1])
    assert flags[-1] == (False, True)


def test_the_seed_determines_the_initial_state() -> None:
    env = make_environment("walker2d-medium-v2")
    first, again, other = (env.reset(seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ["hopper-medium-v2", "ant-medium-v2"])
def test_copies_and_pickles_have_the_same_dynamics(name: str) -> None:
    env = make_environment(name)
    action = np.full(env.action_space.shape or (), 0.3, np.float32)
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        env.reset(seed=3)
        twin.reset(seed=3)
        for _ in range(10):
            np.testing.assert_array_equal(env.step(action)[0], twin.step(action)[0])


def test_options_are_passed_to_gymnasium() -> None:
    assert make_environment("hopper-medium-v2", render_mode="rgb_array", width=100).render_mode == "rgb_array"


@pytest.mark.parametrize(("dynamics", "environment"), [("v2", "trajectory_adacat/Hopper-v2"), ("native", "Hopper-v4")])
def test_results_describe_environment_dynamics_and_versions(dynamics: Dynamics, environment: str) -> None:
    info = environment_info("hopper-medium-v2", dynamics)
    assert (info.pop("environment"), info.pop("dynamics")) == (environment, dynamics)
    assert info == {name: importlib.metadata.version(name) for name in ("gymnasium", "mujoco")}


def run_python(code: str, folder: Path) -> str:
    """Run ``code`` in a new process, outside the repository; return its output."""
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_gymnasium_makes_the_robots_without_an_import_of_the_package(tmp_path: Path) -> None:
    code = """
import gymnasium
env = gymnasium.make("trajectory_adacat.environments:trajectory_adacat/Hopper-v2")
print(env.spec.id, env.reset(seed=0)[0].shape)
"""
    assert run_python(code, tmp_path) == "trajectory_adacat/Hopper-v2 (11,)\n"


def test_the_plugin_entry_point_registers_the_robots(tmp_path: Path) -> None:
    code = """
import importlib.metadata, gymnasium
for plugin in importlib.metadata.entry_points(group="gymnasium.envs"):
    if plugin.value.startswith("trajectory_adacat"):
        plugin.load()()
print(sorted(name for name in gymnasium.registry if name.startswith("trajectory_adacat")))
"""
    expected = [f"trajectory_adacat/{robot}-v2" for robot in ("Ant", "HalfCheetah", "Hopper", "Walker2d")]
    assert run_python(code, tmp_path) == f"{expected}\n"


def test_importing_environments_loads_neither_mujoco_nor_torch(tmp_path: Path) -> None:
    code = "import sys, trajectory_adacat.environments; print({'mujoco', 'torch', 'minari'} & sys.modules.keys())"
    assert run_python(code, tmp_path) == "set()\n"
