"""Minari datasets, created in the test with the minari library."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
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
