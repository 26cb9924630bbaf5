"""Collected datasets: file contents, policies, and collection on demand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv
from scipy import stats

from trajectory_adacat.datasets import Dataset, collected, load_dataset, sources
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.datasets.policies import SquashedGaussianPolicy, load_policy
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import ROBOTS
from trajectory_adacat.scripts import collect as command

ROBOT_SIZES = {"hopper": (11, 3), "halfcheetah": (17, 6), "walker2d": (17, 6)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    return tmp_path


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with h5py.File(path) as file:
        names = [*(key for key in file if key != "infos"), *(f"infos/{key}" for key in file["infos"])]
        return {name: file[name][()] for name in names}, dict(file.attrs)


@pytest.mark.parametrize("robot", ROBOT_SIZES)
@pytest.mark.parametrize("quality", ["medium", "random"])
def test_the_file_has_d4rls_layout(tmp_path: Path, robot: str, quality: str) -> None:
    arrays, attributes = contents(collect(f"{robot}-{quality}-collected", 60, path=tmp_path / "file.hdf5"))
    observation_size, action_size = ROBOT_SIZES[robot]
    assert arrays["observations"].shape == arrays["next_observations"].shape == (60, observation_size)
    assert arrays["actions"].shape == (60, action_size)
    for key in ("rewards", "terminals", "timeouts", "infos/action_log_probs"):
        assert arrays[key].shape == (60,)
    assert np.abs(arrays["actions"]).max() <= 1
    assert attributes["dataset"] == f"{robot}-{quality}-collected"
    assert attributes["dynamics"] == "v2"
    assert {"policy_sha256", "environment", "mujoco", "gymnasium", "numpy", "seed", "transitions"} <= attributes.keys()


def test_the_attributes_stay_those_of_earlier_versions(tmp_path: Path) -> None:
    """The attributes are part of the file's hash, which a resumed training compares."""
    for dynamics, verified in (("v2", {"dynamics_verified"}), ("native", set())):
        _, attributes = contents(collect("hopper-random-collected", 5, dynamics=dynamics, path=tmp_path / dynamics))
        versions = {"trajectory_adacat", "numpy", "gymnasium", "mujoco"}
        source = {"dataset", "transitions", "seed", "policy_sha256", "environment", "dynamics"}
        assert attributes.keys() == versions | source | verified


def test_the_seed_determines_the_bytes_of_the_file(tmp_path: Path) -> None:
    files = [
        collect("hopper-medium-collected", 300, seed, path=tmp_path / f"{i}.hdf5") for i, seed in enumerate((4, 4, 5))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not np.array_equal(contents(files[0])[0]["actions"], contents(files[2])[0]["actions"])


def test_rows_replay_in_the_environment(tmp_path: Path) -> None:
    """Each recorded action, taken in the recorded state, gives the recorded next observation and reward."""
    arrays, _ = contents(collect("walker2d-medium-collected", 40, path=tmp_path / "file.hdf5"))
    env = make_environment("walker2d-medium-collected").unwrapped
    assert isinstance(env, Walker2dEnv)
    env.reset(seed=0)
    env.set_state(arrays["infos/qpos"][0], arrays["infos/qvel"][0])
    np.testing.assert_allclose(arrays["observations"][0], env._get_obs(), atol=1e-6)
    for row in range(10):
        observation, reward, terminated, _, _ = env.step(arrays["actions"][row])
        np.testing.assert_allclose(arrays["next_observations"][row], observation, atol=1e-5)
        np.testing.assert_allclose(arrays["rewards"][row], reward, atol=1e-5)
        assert arrays["terminals"][row] == terminated


def test_consecutive_rows_are_linked_only_within_an_episode(tmp_path: Path) -> None:
    arrays, _ = contents(collect("hopper-random-collected", 200, path=tmp_path / "file.hdf5"))
    follows = (arrays["observations"][1:] == arrays["next_observations"][:-1]).all(1)
    np.testing.assert_array_equal(follows, ~arrays["terminals"][:-1])
    assert 0 < arrays["terminals"].sum() < 200


def test_episodes_time_out_after_1000_steps(tmp_path: Path) -> None:
    arrays, _ = contents(collect("halfcheetah-random-collected", 1100, path=tmp_path / "file.hdf5"))
    np.testing.assert_array_equal(np.flatnonzero(arrays["timeouts"]), [999])
    assert not arrays["terminals"].any()


def test_log_probabilities_match_the_squashed_gaussian(tmp_path: Path) -> None:
    """They are recomputed with arctanh from those actions that float32 represents precisely enough."""
    arrays, _ = contents(collect("hopper-medium-collected", 200, path=tmp_path / "file.hdf5"))
    policy = load_policy(ROBOTS["hopper"], "medium")
    assert isinstance(policy, SquashedGaussianPolicy)
    mean, std = policy.gaussian(arrays["observations"])
    actions = arrays["actions"].astype(np.float64)
    inner = np.abs(actions).max(1) < 0.99
    raw = np.arctanh(actions[inner])
    expected = (stats.norm.logpdf(raw, mean[inner], std[inner]) - np.log1p(-(actions[inner] ** 2))).sum(1)
    np.testing.assert_allclose(arrays["infos/action_log_probs"][inner], expected, atol=1e-3)
    assert inner.sum() > 20
    assert np.isfinite(arrays["infos/action_log_probs"]).all()


def test_log_probabilities_of_random_actions(tmp_path: Path) -> None:
    arrays, _ = contents(collect("hopper-random-collected", 20, path=tmp_path / "file.hdf5"))
    np.testing.assert_allclose(arrays["infos/action_log_probs"], -3 * np.log(2))


def test_the_policy_is_of_medium_quality(tmp_path: Path) -> None:
    """The policy's known mean return is 1252 with standard deviation 210."""
    episodes = load_dataset(
        "hopper-medium-collected", collect("hopper-medium-collected", 2000, path=tmp_path / "file.hdf5")
    ).episodes
    assert 1000 < np.mean([episode.rewards.sum() for episode in episodes if episode.terminated]) < 1600


def test_a_collected_dataset_is_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = collected_path("hopper-random-collected")
    assert path.name == "hopper-random-collected-100000-seed0.hdf5"
    # 100 transitions instead of 100,000, at the same path
    monkeypatch.setattr(sources, "collect", lambda name: collect(name, 100, path=collected_path(name)))
    dataset = load_dataset("hopper-random-collected")
    assert dataset.label == dataset.name == dataset.environment == "hopper-random-collected"
    assert dataset.verified
    assert sum(len(episode) for episode in dataset.episodes) == 100
    monkeypatch.setattr(sources, "collect", None)  # a second call would fail
    assert load_dataset("hopper-random-collected").sha256 == dataset.sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hopper-expert-collected",), "choose one of hopper-medium-collected|cannot be collected"),
        (("hopper-medium-v2",), "cannot be collected"),
        (("hopper-medium-collected", 0), "transitions must be at least 1"),
        (("hopper-medium-collected", -5), "transitions must be at least 1"),
        (("hopper-medium-collected", 5, -1), "seed must lie between 0 and"),
        (("hopper-medium-collected", 5, 2**64), "seed must lie between 0 and"),
    ],
)
def test_bad_arguments_are_refused(home: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(*arguments)
    assert list(home.iterdir()) == []


def test_an_unwritable_path_is_refused_before_collecting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="--output"):
        collect("hopper-random-collected", 10**9, path=tmp_path / "file" / "data.hdf5")


def test_reading_datasets_does_not_load_mujoco(tmp_path: Path) -> None:
    code = "import sys, trajectory_adacat.datasets; print('mujoco' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_an_interrupted_collection_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(collected.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        collect("hopper-random-collected", 10, path=tmp_path / "file.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file_and_prints_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "file.hdf5"
    arguments = ["--dataset", "hopper-random-collected", "--transitions", "100", "--seed", "1", "--output", str(path)]
    command.main(arguments)
    printed = capsys.readouterr().out
    assert str(path) in printed
    assert "100 transitions" in printed
    assert contents(path)[1]["seed"] == 1


def test_the_command_replaces_a_file_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "file.hdf5"
    path.write_text("precious")
    arguments = ["--dataset", "hopper-random-collected", "--transitions", "10", "--output", str(path)]
    with pytest.raises(InputError, match="--overwrite"):
        command.main(arguments)
    assert path.read_text() == "precious"
    command.main([*arguments, "--overwrite"])
    assert len(contents(path)[0]["rewards"]) == 10


def test_the_largest_seed_collects(tmp_path: Path) -> None:
    path = collect("hopper-random-collected", 3, collected.LARGEST_SEED, path=tmp_path / "file.hdf5")
    assert contents(path)[1]["seed"] == collected.LARGEST_SEED


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_is_a_folder_is_refused(tmp_path: Path, overwrite: bool) -> None:
    flags = ["--dataset", "hopper-random-collected", "--transitions", "3", "--output", str(tmp_path)]
    with pytest.raises(InputError, match="is a folder: give --output the name of a file in it"):
        command.main([*flags, "--overwrite", str(overwrite)])


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*choose another --output"):
        collect("hopper-random-collected", 3, path=tmp_path / "file" / "data.hdf5")


def test_an_unwritable_place_is_refused_before_anything_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the refusal is simulated."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(collected, "roll_out", None)
    with pytest.raises(InputError, match=r"cannot be written.*Permission denied.*choose another --output"):
        collect("hopper-random-collected", 3, path=tmp_path / "data.hdf5")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collected.os, "replace", fill)
    with pytest.raises(InputError, match=r"could not be written.*No space left"):
        collect("hopper-random-collected", 3, path=tmp_path / "data.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_the_loader_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*arguments: Any) -> Dataset:
        return replace(load_dataset(*arguments), notes=["found 4 rows"])

    monkeypatch.setattr(command, "load_dataset", load)
    flags = ["--dataset", "hopper-random-collected", "--transitions", "30"]
    command.main([*flags, "--output", str(tmp_path / "data.hdf5")])
    assert capsys.readouterr().out.splitlines()[-1] == "found 4 rows"


def test_collected_files_have_the_episodes_of_their_flags(tmp_path: Path) -> None:
    path = collect("walker2d-medium-collected", 1500, path=tmp_path / "data.hdf5")
    arrays, _ = contents(path)
    dataset = load_dataset("walker2d-medium-collected", path)
    ends = np.flatnonzero(arrays["terminals"] | arrays["timeouts"]) + 1
    assert np.cumsum([len(episode) for episode in dataset.episodes]).tolist() == sorted({*ends.tolist(), 1500})
    assert dataset.notes == []
