"""Robots as records: one record makes a robot's datasets, scores and environments known."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.collected import collect
from trajectory_adacat.datasets.policies import load_policy
from trajectory_adacat.environments import choose_environment, make_environment, register_environments
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.robots import RANDOM, ROBOTS, NamedDataset, Robot, named_datasets

SWIMMER = Robot(
    name="Swimmer",
    observation_size=8,
    action_size=2,
    reference_returns=(10.0, 60.0),
    entry_point="gymnasium.envs.mujoco.swimmer_v4:SwimmerEnv",
    d4rl_qualities=("medium", "expert"),
    collected_qualities=(RANDOM,),
)


@pytest.fixture
def swimmer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Robot]:
    """A robot whose record was added to the table."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path))
    monkeypatch.setitem(ROBOTS, SWIMMER.id, SWIMMER)
    register_environments()
    yield SWIMMER
    del gymnasium.registry[SWIMMER.corrected_id]


def test_a_record_adds_dataset_names(swimmer: Robot) -> None:
    added = [name for name in named_datasets() if name.startswith("swimmer")]
    assert added == ["swimmer-medium-v2", "swimmer-expert-v2", "swimmer-random-collected"]


def test_a_record_adds_reference_scores(swimmer: Robot) -> None:
    for name in ("swimmer-expert-v2", "swimmer-random-collected"):
        assert normalized_score(name, 35.0) == 50.0


def test_a_record_adds_environments(swimmer: Robot) -> None:
    assert choose_environment("swimmer-medium-v2") == ("trajectory_adacat/Swimmer-v2", "v2")
    assert choose_environment("Swimmer-v4", "v2") == ("trajectory_adacat/Swimmer-v2", "v2")
    assert choose_environment("swimmer-medium-v2", "native") == ("Swimmer-v4", "native")
    env = make_environment("swimmer-medium-v2")
    assert env.reset(seed=0)[0].shape == (8,)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 1000


def test_a_record_makes_a_dataset_collectable(swimmer: Robot, tmp_path: Path) -> None:
    path = collect("swimmer-random-collected", 10, path=tmp_path / "file.hdf5")
    dataset = load_dataset("swimmer-random-collected", path)
    assert dataset.label == "swimmer-random-collected"
    assert dataset.episodes[0].observations.shape == (10, 8)


def test_a_record_refuses_files_of_other_sizes(swimmer: Robot, tmp_path: Path) -> None:
    path = collect("hopper-random-collected", 10, path=tmp_path / "file.hdf5")
    with pytest.raises(InputError, match="observations have 11 columns, but swimmer-random-collected has 8"):
        load_dataset("swimmer-random-collected", path)


def test_a_robot_without_a_record_is_unknown() -> None:
    assert normalized_score("swimmer-expert-v2", 35.0) is None
    with pytest.raises(InputError, match="Unknown dataset"):
        load_dataset("swimmer-random-collected")


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda robot: robot.id)
def test_sizes_and_time_limit_are_those_of_both_environments(robot: Robot) -> None:
    for environment in (robot.native_id, robot.corrected_id):
        env = gymnasium.make(environment)
        assert env.observation_space.shape == (robot.observation_size,)
        assert env.action_space.shape == (robot.action_size,)
        assert env.spec is not None
        assert env.spec.max_episode_steps == 1000


@pytest.mark.parametrize(
    "dataset", [d for robot in ROBOTS.values() for d in robot.collected_datasets], ids=lambda d: d.name
)
def test_every_collected_dataset_has_a_policy(dataset: NamedDataset) -> None:
    action, _ = load_policy(dataset.robot, dataset.quality).act(
        np.zeros(dataset.robot.observation_size), np.random.default_rng(0)
    )
    assert action.shape == (dataset.robot.action_size,)
