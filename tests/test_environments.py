"""Environments by name: choice, registration, and the description in results."""

import copy
import importlib.metadata
import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.environments import (
    COLLECTED_DATASETS,
    OFFICIAL_DATASETS,
    Dynamics,
    choose_environment,
    dynamics_of,
    environment_info,
    make_environment,
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
        ("no_such_module:Some-v0", None, "Unknown environment"),
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
