"""Ends of episodes that flags leave out or misplace: next observations, episode ids, assumptions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from trajectory_adacat.datasets import load_dataset, sources
from trajectory_adacat.datasets.boundaries import find_breaks, split_episodes
from trajectory_adacat.datasets.official import OfficialFile
from trajectory_adacat.errors import InputError

LENGTHS = (4, 1, 7, 3, 5)
LASTS = np.cumsum(LENGTHS) - 1
ROWS = sum(LENGTHS)


def walk(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the rows of random walks, one an episode, each with a timeout at its end."""
    generator = np.random.default_rng(seed)
    seen = [generator.normal(size=(length + 1, 3)).cumsum(0) + generator.normal(size=3) for length in lengths]
    rows = sum(lengths)
    return {
        "observations": np.concatenate([walked[:-1] for walked in seen]).astype(np.float32),
        "next_observations": np.concatenate([walked[1:] for walked in seen]).astype(np.float32),
        "actions": np.zeros((rows, 1), np.float32),
        "rewards": np.arange(rows, dtype=np.float32),
        "terminals": np.zeros(rows, bool),
        "timeouts": np.isin(np.arange(rows), np.cumsum(lengths) - 1),
    }


def without(*names: str, **changes: Any) -> dict[str, np.ndarray]:
    return {key: array for key, array in (walk() | changes).items() if key not in names}


def lengths_of(arrays: dict[str, np.ndarray]) -> list[int]:
    return [len(episode) for episode in split_episodes(arrays)[0]]


def test_right_flags_are_kept_without_a_word() -> None:
    episodes, notes = split_episodes(walk())
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    assert notes == []


@pytest.mark.parametrize("arrays", [without("timeouts"), without(timeouts=np.zeros(ROWS, bool))], ids=["no", "unset"])
def test_next_observations_end_the_episodes_that_no_flag_ends(arrays: dict[str, np.ndarray]) -> None:
    episodes, notes = split_episodes(arrays)
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    assert all(episode.truncated for episode in episodes)
    assert len(notes) == 1
    assert "found 4 rows without a flag" in notes[0]


def test_the_mean_return_is_that_of_the_episodes_and_not_of_joined_ones() -> None:
    arrays = without("timeouts", rewards=np.ones(ROWS, np.float32))
    returns = [float(episode.rewards.sum()) for episode in split_episodes(arrays)[0]]
    assert np.mean(returns) == ROWS / len(LENGTHS)


@pytest.mark.parametrize("flag_of_the_first_row", [False, True])
@pytest.mark.parametrize("name", ["terminals", "timeouts"])
def test_flags_on_the_next_episodes_first_row_are_moved_to_their_own(name: str, flag_of_the_first_row: bool) -> None:
    """An episode of one row in between keeps its length; that of the last episode is unknown, and it is truncated."""
    lengths = (4, 2, 7, 3, 5)
    arrays = walk(lengths)
    late = np.zeros(sum(lengths), bool)
    late[np.cumsum(lengths)[:-1]] = True
    late[0] = flag_of_the_first_row
    arrays |= {"timeouts": np.zeros_like(late), name: late}
    episodes, notes = split_episodes(arrays)
    assert [len(episode) for episode in episodes] == list(lengths)
    assert [episode.terminated for episode in episodes[:-1]] == [name == "terminals"] * 4
    assert notes == ["moved 4 flags from the first row of the next episode to the last row of their own"]


def test_a_flag_inside_a_continuous_recording_still_ends_an_episode() -> None:
    arrays = walk((6, 4))
    arrays["terminals"] = np.isin(np.arange(10), [2])
    episodes, notes = split_episodes(arrays)
    assert [(len(episode), episode.terminated) for episode in episodes] == [(3, True), (3, False), (4, False)]
    assert notes == []


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rounding_is_no_break(scale: float) -> None:
    generator = np.random.default_rng(0)
    exact = generator.normal(size=(1001, 3)).cumsum(0) * scale
    observations = exact[:-1].astype(np.float32)
    following = (exact[1:] * (1 + 2e-7 * generator.choice([-1, 1], (1000, 3)))).astype(np.float32)
    assert not find_breaks({"observations": observations, "next_observations": following}).any()
    following[300] += np.float32(scale)
    found = find_breaks({"observations": observations, "next_observations": following})
    assert np.flatnonzero(found).tolist() == [300]


def test_breaks_are_found_in_every_block_of_a_long_file() -> None:
    count = 200_000
    observations = np.arange(count, dtype=np.float32)[:, None].repeat(2, 1)
    following = observations + 1
    places = [0, 65_534, 65_535, 65_536, 131_071, count - 2]
    following[places] += 50
    found = find_breaks({"observations": observations, "next_observations": following})
    assert np.flatnonzero(found).tolist() == places


def test_rows_that_are_not_in_the_order_of_time_are_refused() -> None:
    arrays = walk((30, 20))
    order = np.random.default_rng(0).permutation(50)
    with pytest.raises(InputError, match="not in the order of time: sort them"):
        split_episodes({key: array[order] for key, array in arrays.items()})


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def test_a_file_that_says_nothing_of_time_limits_is_warned_of(tmp_path: Path) -> None:
    arrays = without("next_observations", "timeouts", terminals=np.isin(np.arange(ROWS), [3, 11]))
    dataset = load_dataset("own", write(tmp_path / "own.hdf5", arrays))
    assert [len(episode) for episode in dataset.episodes] == [4, 8, 8]
    assert len(dataset.notes) == 1
    assert dataset.notes[0].startswith("warning: ")
    assert "assumed to end at terminals alone" in dataset.notes[0]
    assert "--cut_episodes" in dataset.notes[0]


def test_a_file_without_any_flag_set_is_warned_of() -> None:
    _, notes = split_episodes(without("next_observations", timeouts=np.zeros(ROWS, bool)))
    assert len(notes) == 1
    assert "no flag set" in notes[0]


def test_timeouts_alone_need_no_warning() -> None:
    assert split_episodes(without("next_observations"))[1] == []


# -- episode ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["episode_ids", "infos/episode"])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, "S4"])
def test_episode_ids_end_episodes_where_a_file_has_them(tmp_path: Path, name: str, dtype: Any) -> None:
    arrays = without("next_observations", "timeouts", terminals=np.isin(np.arange(ROWS), LASTS[1:2]))
    arrays[name] = np.repeat([3, 4, 9, 7, 1], LENGTHS).astype(dtype)
    dataset = load_dataset("own", write(tmp_path / "own.hdf5", arrays))
    assert [len(episode) for episode in dataset.episodes] == list(LENGTHS)
    assert [episode.terminated for episode in dataset.episodes] == [False, True, False, False, False]
    assert dataset.notes == []


def test_an_id_that_comes_back_is_refused(tmp_path: Path) -> None:
    arrays = without("next_observations") | {"episode_ids": np.arange(ROWS) // 5 % 3}
    with pytest.raises(InputError, match="id 0 comes back in row 15"):
        load_dataset("own", write(tmp_path / "own.hdf5", arrays))


def test_ids_of_another_number_of_rows_are_refused(tmp_path: Path) -> None:
    arrays = walk() | {"episode_ids": np.arange(3)}
    with pytest.raises(InputError, match=r"episode_ids has shape \(3,\); expected one episode id for each of 20 rows"):
        load_dataset("own", write(tmp_path / "own.hdf5", arrays))


# -- files with known flags ----------------------------------------------------------------------------------


def test_the_flags_of_a_pinned_file_are_not_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = without("timeouts")
    for key in ("observations", "next_observations"):
        arrays[key] = np.tile(arrays[key][:, :1], (1, 11))
    arrays["actions"] = np.zeros((ROWS, 3), np.float32)
    path = write(tmp_path / "hopper.hdf5", arrays)
    assert len(load_dataset("hopper-medium-v2", path).episodes) == len(LENGTHS)
    pinned = OfficialFile("x.hdf5", path.stat().st_size, load_dataset("hopper-medium-v2", path).sha256)
    monkeypatch.setattr(sources, "official_file", lambda name: pinned)
    dataset = load_dataset("hopper-medium-v2", path)
    assert (len(dataset.episodes), dataset.notes) == (1, [])
