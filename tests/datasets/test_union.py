"""Joined datasets: their rows, their episodes, and which datasets cannot be joined."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.datasets.union import unite
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import collect as command


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two datasets of Hopper whose last episodes are incomplete."""
    return [collect("hopper-random-collected", n, seed=n, path=tmp_path / f"{n}.hdf5") for n in (50, 70)]


def rows(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[name][()]


def test_the_rows_follow_one_another(files: list[Path]) -> None:
    path = unite("hopper-two", list(map(str, files)))
    assert path == collected_path("hopper-two-collected")
    for name in ("observations", "actions", "next_observations", "rewards", "terminals", "infos/qpos"):
        np.testing.assert_array_equal(rows(path, name), np.concatenate([rows(file, name) for file in files]))
    np.testing.assert_array_equal(
        rows(path, "infos/action_log_probs"), np.concatenate([rows(file, "infos/action_log_probs") for file in files])
    )


def test_episodes_do_not_cross_the_seam(files: list[Path]) -> None:
    separate = [episode for file in files for episode in load_dataset("hopper-random-collected", file).episodes]
    unite("hopper-two", list(map(str, files)))
    joined = load_dataset("hopper-two-collected")
    assert [len(episode) for episode in joined.episodes] == [len(episode) for episode in separate]
    assert joined.notes == []
    assert joined.verified
    assert rows(files[0], "timeouts").sum() == 0  # the sources stay as they are


def test_the_sources_are_recorded(files: list[Path]) -> None:
    unite("hopper-two", list(map(str, files)))
    provenance = load_dataset("hopper-two-collected").provenance
    assert provenance["transitions"] == 120
    assert [part["sha256"] for part in json.loads(provenance["union"])] == [file_sha256(file) for file in files]


def test_arrays_that_one_dataset_lacks_are_left_out(files: list[Path]) -> None:
    with h5py.File(files[1], "a") as file:
        del file["infos/action_log_probs"]
    with h5py.File(unite("hopper-two", list(map(str, files)))) as file:
        assert sorted(file["infos"]) == ["qpos", "qvel"]


def test_one_dataset_is_no_union(files: list[Path]) -> None:
    with pytest.raises(InputError, match="two or more"):
        unite("hopper-two", [str(files[0])])


def test_another_robots_data_are_refused(files: list[Path], tmp_path: Path) -> None:
    walker = collect("walker2d-random-collected", 20, path=tmp_path / "walker.hdf5")
    with pytest.raises(InputError, match="which is no hopper"):
        unite("hopper-two", [str(files[0]), str(walker)])
    with pytest.raises(InputError, match="which is no walker2d"):
        unite("walker2d-two", list(map(str, files)))


def test_data_of_different_dynamics_are_refused(files: list[Path], tmp_path: Path) -> None:
    native = collect("hopper-random-collected", 20, dynamics="native", path=tmp_path / "native.hdf5")
    with pytest.raises(InputError, match=r"dynamics of the datasets differ.*native.hdf5 has native"):
        unite("hopper-two", [str(files[0]), str(native)])


def test_a_file_that_lacks_an_array_is_refused(files: list[Path]) -> None:
    with h5py.File(files[1], "a") as file:
        del file["next_observations"]
    with pytest.raises(InputError, match="lacks next_observations"):
        unite("hopper-two", list(map(str, files)))


def test_a_file_without_an_environment_is_refused(files: list[Path]) -> None:
    with h5py.File(files[1], "a") as file:
        del file.attrs["environment"]
    with pytest.raises(InputError, match="an unknown environment"):
        unite("hopper-two", list(map(str, files)))


def test_the_command_joins(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--union", *map(str, files), "--name", "hopper-medium-expert"]
    command.main(flags)
    assert "120 transitions" in capsys.readouterr().out
    with pytest.raises(InputError, match="--overwrite"):
        command.main(flags)
    command.main([*flags, "--overwrite"])
