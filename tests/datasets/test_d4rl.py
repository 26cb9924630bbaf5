"""Episode boundaries and damaged files, on small D4RL-format HDF5 files."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajectory_adacat.datasets import load_dataset, load_episodes
from trajectory_adacat.datasets.d4rl import split_episodes
from trajectory_adacat.errors import InputError

OBSERVATION_SIZE, ACTION_SIZE = 11, 3  # hopper's
Writer = Callable[[dict[str, np.ndarray]], Path]


def rows(count: int, terminals: Sequence[int] = (), timeouts: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Return arrays with observation i and next observation i + 0.5 in row i: no two episodes share a value."""
    index = np.arange(count, dtype=np.float32)
    return {
        "observations": np.repeat(index[:, None], OBSERVATION_SIZE, 1),
        "actions": np.repeat(index[:, None], ACTION_SIZE, 1) / count,
        "next_observations": np.repeat(index[:, None] + 0.5, OBSERVATION_SIZE, 1),
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
    arrays = rows(len(flags))
    arrays["terminals"], arrays["timeouts"] = np.array(flags).T
    episodes = split_episodes(arrays)
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


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all" * 100], ids=["empty", "text"])
def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.hdf5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.hdf5 is not a complete HDF5 file"):
        load_dataset("own", path)


def test_a_truncated_file_is_refused(write: Writer) -> None:
    path = write(rows(1000))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        load_dataset("own", path)
