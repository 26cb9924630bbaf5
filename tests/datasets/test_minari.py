"""Minari datasets, created in the test with the minari library."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from trajectory_adacat.datasets import load_dataset, load_episodes
from trajectory_adacat.environments import environment_info, make_environment
from trajectory_adacat.errors import InputError

minari = pytest.importorskip("minari")
from minari.data_collector import EpisodeBuffer  # noqa: E402

NAME = "test/pendulum/random-v0"
ENDS = ((3, True, False), (2, False, True), (4, True, True))  # length, terminated, truncated
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")  # about missing metadata


def buffer(length: int, terminated: bool, truncated: bool, first: int) -> EpisodeBuffer:
    observations = first + np.arange(3 * (length + 1), dtype=np.float32).reshape(length + 1, 3) / 100
    flags = np.zeros((2, length), bool)
    flags[:, -1] = terminated, truncated
    return EpisodeBuffer(
        observations=list(observations),
        actions=list(np.full((length, 1), 0.5, np.float32)),
        rewards=list(np.arange(length, dtype=float)),
        terminations=list(flags[0]),
        truncations=list(flags[1]),
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def create(ends: Sequence[tuple[int, bool, bool]] = ENDS, **options: Any) -> None:
    buffers = [buffer(*end, first=index) for index, end in enumerate(ends)]
    defaults: dict[str, Any] = {"dataset_id": NAME, "buffer": buffers, "env": gymnasium.make("Pendulum-v1")}
    minari.create_dataset_from_buffers(**(defaults | options))


def test_episodes_keep_termination_and_final_observations() -> None:
    create()
    episodes = load_episodes(f"minari:{NAME}")
    assert [(len(e), e.terminated, e.truncated) for e in episodes] == [
        (3, True, False),
        (2, False, True),
        (4, True, False),
    ]
    np.testing.assert_allclose(episodes[1].observations[:, 0], [1, 1.03], rtol=1e-6)
    np.testing.assert_allclose(episodes[1].final_observation, [1.06, 1.07, 1.08], rtol=1e-6)
    np.testing.assert_array_equal(episodes[2].rewards, [0, 1, 2, 3])


def test_the_environment_comes_from_the_datasets_specification() -> None:
    create()
    dataset = load_dataset(f"minari:{NAME}")
    assert dataset.environment is not None
    assert dataset.label == dataset.environment == f"minari:{NAME}"
    assert not dataset.verified
    spec = make_environment(dataset.environment).spec
    assert spec is not None
    assert spec.id == "Pendulum-v1"
    info = environment_info(dataset.environment)
    assert (info["environment"], info["dynamics"]) == ("Pendulum-v1", "native")


def test_the_hash_identifies_the_contents() -> None:
    create()
    first = load_dataset(f"minari:{NAME}").sha256
    assert first == load_dataset(f"minari:{NAME}").sha256
    minari.delete_dataset(NAME)
    create(ends=((3, True, False), (2, True, False)))
    assert load_dataset(f"minari:{NAME}").sha256 != first


def test_a_dataset_without_environment_needs_the_flag() -> None:
    spaces = gymnasium.make("Pendulum-v1")
    create(env=None, observation_space=spaces.observation_space, action_space=spaces.action_space)
    assert load_dataset(f"minari:{NAME}").environment is None
    with pytest.raises(InputError, match="--environment"):
        make_environment(f"minari:{NAME}")


def test_a_missing_dataset_is_refused_with_the_download_command() -> None:
    with pytest.raises(InputError, match="minari download mujoco/hopper/medium-v0"):
        load_dataset("minari:mujoco/hopper/medium-v0")


def test_a_missing_library_is_refused_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match=r"pip install trajectory-adacat\[minari\]"):
        load_dataset(f"minari:{NAME}")


def test_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MINARI_DATASETS_PATH"):
        load_dataset(f"minari:{NAME}", tmp_path)


def test_an_episode_that_terminates_before_its_last_row_is_split_there() -> None:
    late, whole = buffer(5, False, True, 0), buffer(3, True, False, 1)
    late.terminations[1] = True
    create(buffer=[late, whole])
    dataset = load_dataset(f"minari:{NAME}")
    assert [(len(e), e.terminated) for e in dataset.episodes] == [(2, True), (3, False), (3, True)]
    np.testing.assert_allclose(dataset.episodes[0].final_observation, [0.06, 0.07, 0.08], rtol=1e-6)
    assert any("found 1 ends of episodes" in note and "before the last row" in note for note in dataset.notes)


def test_float64_observations_that_float32_cannot_resolve_are_kept() -> None:
    space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    seen = [row + 1.7e9 for row in np.arange(15.0).reshape(5, 3)]
    wide = dataclasses.replace(buffer(4, True, False, 0), observations=seen)
    create(buffer=[wide], observation_space=space, env=None, action_space=gymnasium.make("Pendulum-v1").action_space)
    dataset = load_dataset(f"minari:{NAME}")
    np.testing.assert_array_equal(dataset.episodes[0].observations[:, 0], 1.7e9 + np.array([0, 3, 6, 9]))
    assert any("dimensions 0, 1, 2 of observations" in note for note in dataset.notes)


def spoil_version(data: Path) -> None:
    text = (data / "metadata.json").read_text()
    (data / "metadata.json").write_text(text.replace(minari.__version__, "0.1.0"))


def spoil_metadata(data: Path) -> None:
    (data / "metadata.json").unlink()


def spoil_half(data: Path) -> None:
    path = data / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[:100])


def spoil_data(data: Path) -> None:
    (data / "main_data.hdf5").unlink()


def spoil_rewards(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]


@pytest.mark.parametrize("spoil", [spoil_version, spoil_metadata, spoil_half, spoil_data, spoil_rewards])
def test_an_old_or_incomplete_dataset_is_refused_in_a_paragraph(folder: Path, spoil: Callable[[Path], None]) -> None:
    create()
    spoil(folder / NAME / "data")
    with pytest.raises(InputError, match=rf"{NAME} cannot be read.*minari download"):
        load_dataset(f"minari:{NAME}")
