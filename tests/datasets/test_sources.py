"""Dataset names: which file each one reads, and its label in results."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from trajectory_adacat.datasets import load_dataset, load_episodes, sources
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.datasets.official import OfficialFile
from trajectory_adacat.environments import environment_info
from trajectory_adacat.errors import InputError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, observation_size: int, action_size: int, **attributes: str) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        seen = rng.standard_normal((8, observation_size)).astype(np.float32)  # of two episodes, four each
        file["observations"], file["next_observations"] = seen[[0, 1, 2, 4, 5, 6]], seen[[1, 2, 3, 5, 6, 7]]
        file["actions"] = rng.uniform(-1, 1, (6, action_size)).astype(np.float32)
        file["rewards"] = rng.standard_normal(6).astype(np.float32)
        file["terminals"] = np.array([0, 0, 1, 0, 0, 0], bool)
        file["timeouts"] = np.zeros(6, bool)
        file.attrs.update(attributes)
    return path


def test_a_file_with_another_hash_is_unverified(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.hdf5", 11, 3)
    dataset = load_dataset("hopper-medium-v2", path)
    assert (dataset.name, dataset.label) == ("hopper-medium-v2", "hopper-medium-v2 (unverified)")
    assert not dataset.verified
    assert dataset.environment == "hopper-medium-v2"
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(dataset.episodes) == len(load_episodes("hopper-medium-v2", str(path))) == 2


def test_a_file_with_the_pinned_bytes_keeps_the_official_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine.hdf5", 11, 3)
    pinned = OfficialFile("x.hdf5", path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(sources, "official_file", lambda name: pinned)
    dataset = load_dataset("hopper-medium-v2", path)
    assert dataset.verified
    assert dataset.label == "hopper-medium-v2"


@pytest.mark.parametrize("name", ["own", "own.hdf5"])
def test_a_users_file_is_labelled_by_its_file_name(tmp_path: Path, name: str) -> None:
    dataset = load_dataset(name, write(tmp_path / "robot.hdf5", 5, 2))
    assert dataset.label == "robot.hdf5"
    assert dataset.environment is None
    assert not dataset.verified


def test_a_users_file_may_be_given_as_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "robot.hdf5", 5, 2, environment="Pendulum-v1")
    dataset = load_dataset(str(path))
    assert (dataset.label, dataset.environment) == ("robot.hdf5", "Pendulum-v1")
    assert load_dataset("~/robot.hdf5").sha256 == dataset.sha256  # the test's home folder is tmp_path


def test_a_file_without_the_provenance_of_a_collected_dataset_is_unverified(tmp_path: Path) -> None:
    dataset = load_dataset("hopper-medium-collected", write(tmp_path / "mine.hdf5", 11, 3))
    assert dataset.label == "hopper-medium-collected (unverified)"


def test_data_collected_with_native_dynamics_names_the_native_environment(tmp_path: Path) -> None:
    path = collect("hopper-random-collected", 50, dynamics="native", path=tmp_path / "native.hdf5")
    dataset = load_dataset("hopper-random-collected", path)
    assert dataset.label == "hopper-random-collected (unverified)"
    assert dataset.environment is not None
    assert environment_info(dataset.environment)["dynamics"] == "native"


def test_a_cached_file_of_another_policy_is_refused() -> None:
    path = collect("hopper-medium-collected", 10, path=collected_path("hopper-medium-collected"))
    with h5py.File(path, "a") as file:
        file.attrs["policy_sha256"] = "0"
    with pytest.raises(InputError, match="not collected with this version's policy"):
        load_dataset("hopper-medium-collected")


def test_ant_keeps_the_27_observations_of_its_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "ant.hdf5", 111, 8)
    with h5py.File(path) as file:
        first, following = file["observations"][0, :27], file["next_observations"][2, :27]
    episode = load_episodes("ant-medium-v2", path)[0]
    np.testing.assert_array_equal(episode.observations[0], first)
    np.testing.assert_array_equal(episode.final_observation, following)


@pytest.mark.parametrize(("sizes", "key"), [((17, 3), "observations"), ((11, 6), "actions")])
def test_a_file_of_another_robot_is_refused(tmp_path: Path, sizes: tuple[int, int], key: str) -> None:
    with pytest.raises(InputError, match=f"mine.hdf5: {key} have {max(sizes) if key == 'observations' else 6} columns"):
        load_dataset("hopper-medium-v2", write(tmp_path / "mine.hdf5", *sizes))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hoper-medium-v2", "Did you mean hopper-medium-v2"),
        ("hopper-medium-v0", "Did you mean hopper-medium-v2"),
        ("walker2d-medium-colected", "Did you mean walker2d-medium-collected"),
        ("xyz", "Unknown dataset 'xyz'"),
    ],
)
def test_unknown_names_are_refused(home: Path, name: str, message: str) -> None:
    before = list(home.iterdir())
    with pytest.raises(InputError, match=message):
        load_dataset(name)
    assert list(home.iterdir()) == before
