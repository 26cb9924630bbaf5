"""Episode boundaries and damaged files, on small D4RL-format HDF5 files."""

import fcntl
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trajectory_adacat.datasets import hdf5, load_dataset, load_episodes
from trajectory_adacat.datasets.boundaries import split_episodes
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError

OBSERVATION_SIZE, ACTION_SIZE = 11, 3  # hopper's
Writer = Callable[[dict[str, np.ndarray]], Path]


def rows(count: int, terminals: Sequence[int] = (), timeouts: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Return arrays with observation i in row i, and next observation i + 1, or i + 0.5 where an episode ends."""
    index = np.arange(count, dtype=np.float32)
    is_last = np.isin(index, [*terminals, *timeouts, count - 1])
    following = np.where(is_last, index + np.float32(0.5), index + 1)
    return {
        "observations": np.repeat(index[:, None], OBSERVATION_SIZE, 1),
        "actions": np.repeat(index[:, None], ACTION_SIZE, 1) / count,
        "next_observations": np.repeat(following[:, None], OBSERVATION_SIZE, 1),
        "rewards": index,
        "terminals": np.isin(np.arange(count), list(terminals)),
        "timeouts": np.isin(np.arange(count), list(timeouts)),
    }


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write_file(arrays: dict[str, np.ndarray]) -> Path:
        path = tmp_path / "own.hdf5"
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
        return path

    return write_file


def ends(path: Path) -> list[tuple[int, bool, bool, float]]:
    return [(len(e), e.terminated, e.truncated, float(e.final_observation[0])) for e in load_episodes("own", path)]


def test_a_flag_marks_the_last_row_of_its_episode(write: Writer) -> None:
    assert ends(write(rows(5, terminals=[1], timeouts=[4]))) == [(2, True, False, 1.5), (3, False, True, 4.5)]


def test_a_terminal_takes_precedence_over_a_timeout(write: Writer) -> None:
    assert ends(write(rows(4, terminals=[1, 3], timeouts=[1, 3]))) == [(2, True, False, 1.5), (2, True, False, 3.5)]


def test_the_rows_after_the_last_flag_are_a_truncated_episode(write: Writer) -> None:
    assert ends(write(rows(5, terminals=[1]))) == [(2, True, False, 1.5), (3, False, True, 4.5)]


def test_a_file_without_flags_is_one_truncated_episode(write: Writer) -> None:
    assert ends(write(rows(4))) == [(4, False, True, 3.5)]


def test_consecutive_flags_make_episodes_of_one_step(write: Writer) -> None:
    assert ends(write(rows(3, terminals=[0, 1]))) == [
        (1, True, False, 0.5),
        (1, True, False, 1.5),
        (1, False, True, 2.5),
    ]


def test_episodes_contain_their_rows_unchanged(write: Writer) -> None:
    second = load_episodes("own", write(rows(5, terminals=[1, 4])))[1]
    np.testing.assert_array_equal(second.observations[:, 0], [2, 3, 4])
    np.testing.assert_allclose(second.actions[:, 0], [0.4, 0.6, 0.8])
    np.testing.assert_array_equal(second.rewards, [2, 3, 4])
    assert {a.dtype for a in (second.observations, second.actions, second.rewards)} == {np.dtype(np.float32)}


def test_episodes_longer_than_1000_steps_are_whole(write: Writer) -> None:
    assert ends(write(rows(2500, timeouts=[1499]))) == [(1500, False, True, 1499.5), (1000, False, True, 2499.5)]


def test_v0_files_have_no_final_observations(write: Writer) -> None:
    """The row after an episode's last row belongs to another episode, so the final observation is unknown."""
    arrays = rows(5, terminals=[1])
    del arrays["next_observations"], arrays["timeouts"]
    episodes = load_episodes("own", write(arrays))
    assert [(len(e), e.terminated) for e in episodes] == [(2, True), (3, False)]
    assert all(np.isnan(e.final_observation).all() for e in episodes)


def test_flags_may_be_numbers(write: Writer) -> None:
    arrays = rows(4, terminals=[1])
    arrays["terminals"] = arrays["terminals"].astype(np.float64)
    arrays["timeouts"] = arrays["timeouts"].astype(np.uint8)
    assert [length for length, *_ in ends(write(arrays))] == [2, 2]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_episodes_partition_the_rows(flags: list[tuple[bool, bool]]) -> None:
    terminals, timeouts = np.array(flags).T
    arrays = rows(len(flags), np.flatnonzero(terminals).tolist(), np.flatnonzero(timeouts).tolist())
    episodes, notes = split_episodes(arrays)
    assert notes == []
    np.testing.assert_array_equal(np.concatenate([e.rewards for e in episodes]), np.arange(len(flags)))
    lasts = list(itertools.accumulate(len(e) for e in episodes))
    assert [e.terminated for e in episodes] == [flags[last - 1][0] for last in lasts]
    assert all(float(e.final_observation[0]) == e.rewards[-1] + 0.5 for e in episodes)
    assert {last - 1 for last in lasts} == {i for i, flag in enumerate(flags) if any(flag)} | {len(flags) - 1}


def changed(key: str, value: np.ndarray) -> dict[str, np.ndarray]:
    return rows(4) | {key: value}


def with_value(key: str, value: float) -> dict[str, np.ndarray]:
    arrays = rows(4)
    arrays[key][2] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({k: v for k, v in rows(4).items() if k != "rewards"}, r"own.hdf5 is not in D4RL's format.*lacks.*rewards"),
        ({"data": np.zeros(3)}, "lacks.*observations, actions, rewards, terminals"),
        ({}, "lacks"),
        ({k: v for k, v in rows(4).items() if k != "actions"} | {"actions/left": np.zeros(4)}, "lacks.*actions"),
        (changed("rewards", np.zeros((4, 1))), r"rewards has shape \(4, 1\); expected 4 rows and 1 dimension"),
        (changed("actions", np.zeros((3, 3))), r"actions has shape \(3, 3\)"),
        (changed("actions", np.zeros((4, 0))), r"actions has shape \(4, 0\)"),
        (changed("timeouts", np.zeros(5)), r"timeouts has shape \(5,\)"),
        (changed("next_observations", np.zeros((4, 7))), "next_observations and observations have different shapes"),
        (changed("observations", np.array([[b"a"]] * 4)), "observations is not an array of numbers"),
        (changed("terminals", np.array([0, 1, 2, 0])), "terminals must be 0 or 1"),
        (changed("terminals", np.array([0, 1, np.nan, 0])), "terminals must be 0 or 1"),
        (with_value("observations", np.nan), "observations contains NaN or infinity, first in row 2"),
        (with_value("actions", -np.inf), "actions contains NaN or infinity, first in row 2"),
        (with_value("rewards", np.nan), "rewards contains NaN or infinity, first in row 2"),
        (with_value("next_observations", np.inf), "next_observations contains NaN"),
        (changed("rewards", np.array([0, 1e300, 0, 0])), "rewards contains NaN or infinity, first in row 1"),
        (rows(0), "contains no transitions"),
    ],
)
def test_bad_contents_are_refused(write: Writer, arrays: dict[str, np.ndarray], message: str) -> None:
    path = write(arrays)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        load_dataset("own", path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset file .*nowhere.hdf5"):
        load_dataset("own", tmp_path / "nowhere.hdf5")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset file"):
        load_dataset("own", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"not HDF5 at all" * 100, "is not an HDF5 file: it begins with b'not HDF5"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x1f\x8b\x08 compressed", "decompress"),
        (b"PK\x03\x04 zipped", "zip file"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
    ],
)
def test_a_file_that_is_not_hdf5_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.hdf5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"own\.hdf5.*{re.escape(message)}"):
        load_dataset("own", path)


def test_a_file_with_a_user_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.hdf5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        for key, array in rows(3).items():
            file[key] = array
    assert len(load_episodes("own", path)) == 1


def test_a_truncated_file_is_refused(write: Writer) -> None:
    path = write(rows(1000))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"is cut short, not a complete HDF5 file.*download or create it again"):
        load_dataset("own", path)


def test_a_file_that_another_process_writes_is_in_use_and_not_damaged(write: Writer) -> None:
    path = write(rows(5))
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is in use: another process has it open for writing") as raised:
            load_dataset("own", path)
    assert "again" not in str(raised.value)
    assert len(load_episodes("own", path)) == 1


def test_a_file_without_the_right_to_read_it_is_named(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is simulated."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(rows(5))
    monkeypatch.setattr(hdf5, "open_regular", refuse)
    with pytest.raises(InputError, match="cannot be read for lack of permission"):
        load_dataset("own", path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bytes_(b"Pendulum-v1"), "Pendulum-v1"),
        (np.array([b"Pendulum-v1"]), "Pendulum-v1"),
        (np.array(["Pendulum-v1"], dtype=object), "Pendulum-v1"),
        ("Pendulum-v1", "Pendulum-v1"),
        (h5py.Empty("f"), None),
    ],
    ids=str,
)
def test_attributes_are_json_values_however_they_are_stored(write: Writer, value: Any, expected: str | None) -> None:
    path = write(rows(5))
    with h5py.File(path, "a") as file:
        file.attrs["environment"] = value
        file.attrs["numbers"] = np.arange(3, dtype=np.int16)
        file.attrs["reference"] = file["rewards"].ref
    dataset = load_dataset("own", path)
    assert dataset.environment == expected
    assert dataset.provenance["numbers"] == [0, 1, 2]
    json.dumps(dataset.provenance)


def test_an_environment_that_is_not_text_is_refused(write: Writer) -> None:
    path = write(rows(5))
    with h5py.File(path, "a") as file:
        file.attrs["environment"] = 4
    with pytest.raises(InputError, match="attribute environment must be text, got 4"):
        load_dataset("own", path)


# -- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_what_float32_cannot_resolve_stays_float64_and_is_named(write: Writer, dtype: type) -> None:
    arrays = {key: array.astype(np.float64) for key, array in rows(40, terminals=[19]).items()}
    for key in ("observations", "next_observations"):
        arrays[key][:, 3] += 1.7e9
        arrays[key] = arrays[key].astype(dtype)
    dataset = load_dataset("own", write(arrays))
    observations = np.concatenate([episode.observations for episode in dataset.episodes])
    np.testing.assert_array_equal(observations[:, 3], 1.7e9 + np.arange(40))
    tokens = MinMaxNormalizer.fit(torch.from_numpy(observations)).normalize(torch.from_numpy(observations))
    np.testing.assert_allclose(tokens[:, 3], np.arange(40) / 39, atol=1e-6)
    assert [len(episode) for episode in dataset.episodes] == [20, 20]
    assert any("float32 cannot resolve dimension 3 of observations" in note for note in dataset.notes)


def test_what_a_float32_file_could_not_resolve_is_named(write: Writer) -> None:
    arrays = rows(40, terminals=[19])
    arrays["observations"][:, 3] = 1.7e9 + 128 * (np.arange(40) // 20)
    arrays["next_observations"][:, 3] = 1.7e9 + 128 * (np.arange(1, 41) // 20)
    dataset = load_dataset("own", write(arrays))
    assert any("dimension 3 of observations" in note and "store float64" in note for note in dataset.notes)


def test_float64_that_float32_resolves_becomes_float32(write: Writer) -> None:
    arrays = rows(10, terminals=[4])
    wide = {key: array.astype(np.float64) for key, array in arrays.items()}
    first = load_dataset("own", write(arrays))
    second = load_dataset("own", write(wide))
    for ours, theirs in zip(first.episodes, second.episodes, strict=True):
        assert theirs.observations.dtype == np.float32
        np.testing.assert_array_equal(ours.observations, theirs.observations)
    assert first.notes == second.notes == []


def test_the_behaviours_log_densities_are_split_with_the_rows(write: Writer) -> None:
    path = write({**rows(5, terminals=[1]), "infos/action_log_probs": np.arange(5.0)})
    found = [episode.action_log_probs for episode in load_episodes("own", path)]
    assert [array is not None and array.tolist() for array in found] == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(
    "log_probs",
    [None, np.arange(4.0), np.zeros((5, 1)), np.array([0, 1, np.nan, 3, 4]), np.array(["x"] * 5, "S1")],
    ids=str,
)
def test_unusable_log_densities_are_unknown(write: Writer, log_probs: np.ndarray | None) -> None:
    infos = {} if log_probs is None else {"infos/action_log_probs": log_probs}
    assert all(episode.action_log_probs is None for episode in load_episodes("own", write({**rows(5), **infos})))
