"""Datasets that are damaged, hostile or extreme: refused in one paragraph, or read as they are."""

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.faults.forging import refusal
from tests.scripts.conftest import tiny_flags
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.errors import DataError
from trajectory_adacat.scripts import train

ROWS = 12


def arrays(rows: int = ROWS) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "observations": generator.normal(size=(rows, 3)).astype(np.float32),
        "actions": generator.uniform(-1, 1, (rows, 2)).astype(np.float32),
        "rewards": generator.normal(size=rows).astype(np.float32),
        "terminals": np.arange(rows) % 4 == 3,
    }


def write(path: Path, change: Callable[[h5py.File], object] = lambda file: None, **others: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in {**arrays(), **others}.items():
            file[name] = array
        change(file)
    return path


def replace(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        make(file)

    return change


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another file, which somebody would like to be read."""
    return write(tmp_path / "secret.hdf5")


# -- elsewhere -------------------------------------------------------------------------------------------------


def external_link(file: h5py.File) -> None:
    file["rewards"] = h5py.ExternalLink("secret.hdf5", "rewards")


def soft_link_to_external(file: h5py.File) -> None:
    file["hidden"] = h5py.ExternalLink("secret.hdf5", "/")
    file["rewards"] = h5py.SoftLink("/hidden/rewards")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((ROWS,), np.float32)
    layout[:] = h5py.VirtualSource("secret.hdf5", "rewards", (ROWS,))
    file.create_virtual_dataset("rewards", layout)


def external_storage(file: h5py.File) -> None:
    file.create_dataset("rewards", (ROWS,), np.float32, external=[("/etc/hostname", 0, 4 * ROWS)])


@pytest.mark.parametrize("make", [external_link, soft_link_to_external, virtual, external_storage])
def test_other_files_are_not_read(other: Path, make: Callable[[h5py.File], None]) -> None:
    path = write(other.with_name("own.hdf5"), replace("rewards", make))
    with pytest.raises(DataError, match="rewards lies in another file, which is not read"):
        load_dataset("own", path)


@pytest.mark.parametrize("name", ["infos/action_log_probs", "episode_ids", "next_observations", "infos/episode"])
def test_optional_arrays_are_not_read_from_other_files(other: Path, name: str) -> None:
    def link(file: h5py.File) -> None:
        file[name] = h5py.ExternalLink("secret.hdf5", "rewards")

    with pytest.raises(DataError, match=f"{name} lies in another file"):
        load_dataset("own", write(other.with_name("own.hdf5"), link))


def test_links_within_the_file_are_followed_and_loops_end(tmp_path: Path) -> None:
    def link(file: h5py.File) -> None:
        file.move("rewards", "deep/inner")
        file["rewards"] = h5py.SoftLink("deep/inner")

    path = write(tmp_path / "own.hdf5", link)
    rewards = np.concatenate([episode.rewards for episode in load_dataset("own", path).episodes])
    np.testing.assert_array_equal(rewards, arrays()["rewards"])

    def loop(file: h5py.File) -> None:
        file["rewards"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/rewards")

    with pytest.raises(DataError, match="lacks rewards"):
        load_dataset("own", write(path, replace("rewards", loop)))


# -- types and sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rewards", np.array([b"1.0"] * ROWS)),
        ("rewards", np.zeros(ROWS, np.complex64)),
        ("rewards", np.zeros(ROWS, [("a", np.float32)])),
        ("actions", np.array(["a", "b"] * ROWS, object).reshape(ROWS, 2).astype(h5py.string_dtype())),
        ("episode_ids", np.zeros(ROWS, [("a", np.float32)])),
        ("timeouts", np.full(ROWS, 2)),
        ("timeouts", np.full(ROWS, np.nan)),
        ("observations", np.zeros((ROWS, 0), np.float32)),
        ("observations", np.zeros((ROWS - 1, 3), np.float32)),
        ("actions", np.zeros((ROWS, 2, 1), np.float32)),
        ("rewards", np.full(ROWS, 1e39)),
        ("rewards", np.full(ROWS, -np.inf, np.float32)),
        ("observations", np.full((ROWS, 3), np.nan, np.float32)),
    ],
    ids=range(13),
)
def test_arrays_of_other_types_and_sizes_are_refused(tmp_path: Path, name: str, value: np.ndarray) -> None:
    with pytest.raises(DataError, match=name):
        load_dataset("own", write(tmp_path / "own.hdf5", **{name: value}))


def objects(file: h5py.File) -> None:
    references = file.create_dataset("rewards", (ROWS,), h5py.ref_dtype)
    references[0] = file["actions"].ref


def lists(file: h5py.File) -> None:
    file.create_dataset("rewards", (ROWS,), h5py.vlen_dtype(np.float32))[0] = [1.0, 2.0]


def texts(file: h5py.File) -> None:
    file.create_dataset("rewards", (ROWS,), h5py.string_dtype())[0] = "1.0"


def group(file: h5py.File) -> None:
    file.create_group("rewards")


def scalar(file: h5py.File) -> None:
    file["rewards"] = 1.0


def empty(file: h5py.File) -> None:
    file["rewards"] = h5py.Empty("f")


@pytest.mark.parametrize("make", [objects, lists, texts, group, scalar, empty])
def test_what_is_not_an_array_of_numbers_is_refused(tmp_path: Path, make: Callable[[h5py.File], None]) -> None:
    with pytest.raises(DataError, match=r"own\.hdf5"):
        load_dataset("own", write(tmp_path / "own.hdf5", replace("rewards", make)))


def test_ids_that_are_lists_are_refused(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        file.create_dataset("episode_ids", (ROWS,), h5py.vlen_dtype(np.float32))

    with pytest.raises(DataError, match="episode_ids are not numbers or texts"):
        load_dataset("own", write(tmp_path / "own.hdf5", make))


def never_written(file: h5py.File) -> None:
    for name in list(file):
        del file[name]
    rows = 10**12
    file.create_dataset("observations", (rows, 3), np.float32, chunks=(1024, 3))
    file.create_dataset("actions", (rows, 2), np.float32, chunks=(1024, 2))
    file.create_dataset("rewards", (rows,), np.float32, chunks=(1024,))
    file.create_dataset("terminals", (rows,), bool, chunks=(1024,))


def compressed(file: h5py.File) -> None:
    del file["observations"]
    file.create_dataset("observations", (ROWS, 2**25), np.float32, chunks=(1, 2**20), compression="gzip", fillvalue=0)
    file["observations"][0, : 2**20] = 1.0


@pytest.mark.parametrize("change", [never_written, compressed])
def test_a_file_that_would_take_far_more_than_its_size_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None]
) -> None:
    path = write(tmp_path / "own.hdf5", change)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"its arrays would take \d+: that is no recording"):
        load_dataset("own", path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    def compress(file: h5py.File) -> None:
        for name, array in arrays().items():
            del file[name]
            file.create_dataset(name, data=array, compression="gzip", compression_opts=9, shuffle=True)

    assert len(load_dataset("own", write(tmp_path / "own.hdf5", compress)).episodes) == 3


@pytest.mark.parametrize("value", [h5py.Empty("f"), np.array([b"x", b"y"]), 1 + 2j, np.zeros((3, 3)), "\ud7ff"])
def test_attributes_of_any_type_are_read(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "own.hdf5", lambda file: file.attrs.update({"anything": value}))
    assert "anything" in load_dataset("own", path).provenance


# -- damage ----------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path, places = write(tmp_path / "own.hdf5"), random.Random(0)
    whole = path.read_bytes()
    for length in sorted(places.sample(range(len(whole)), 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"own\.hdf5"):
            load_dataset("own", path)


def test_a_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.hdf5"
    path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match="it is a device or a pipe"):
        load_dataset("own", path)


def test_the_command_ends_with_status_3(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "own.hdf5", rewards=np.full(ROWS, np.nan, np.float32))
    status, message = refusal(train.main, tiny_flags(path), capsys)
    assert (status, message) == (3, f"error: {path}: rewards contains NaN or infinity, first in row 0.")
    assert list(home.iterdir()) == []


# -- extremes --------------------------------------------------------------------------------------------------


def test_values_of_1e30_and_constant_dimensions_are_trained_on(
    home: Path, tmp_path: Path, run_train: Callable[..., Path]
) -> None:
    observations = arrays()["observations"]
    observations[:, 0] *= np.float32(1e30)
    observations[:, 1] = 7.0
    path = write(tmp_path / "own.hdf5", observations=observations, rewards=np.full(ROWS, 1e30, np.float32))
    assert list(run_train(path, n_steps=2, termination_penalty="none").glob("step_*"))


@pytest.mark.parametrize("n_episodes", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_episodes_of_two_steps_are_read(tmp_path: Path, n_episodes: int) -> None:
    rows = 2 * n_episodes
    terminals = np.arange(rows) % 2 == 1
    episodes = load_dataset("own", write(tmp_path / "own.hdf5", **{**arrays(rows), "terminals": terminals})).episodes
    assert len(episodes) == n_episodes
    assert all(len(episode) == 2 and episode.terminated for episode in episodes[:: n_episodes // 1000])


@pytest.mark.parametrize("rows", [200_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_reading_takes_less_than_three_times_the_data(tmp_path: Path, rows: int) -> None:
    found = arrays(1000)
    path = tmp_path / "own.hdf5"
    with h5py.File(path, "w") as file:
        following = np.roll(found["observations"], -1, 0)
        for name, array in {**found, "next_observations": following}.items():
            dataset = file.create_dataset(name, (rows, *array.shape[1:]), array.dtype)
            for start in range(0, rows, 1000):
                dataset[start : start + 1000] = array
        file["terminals"][...] = False
        file["timeouts"] = np.arange(rows) % 1000 == 999
        size = sum(file[name].nbytes for name in file)
    tracemalloc.start()
    dataset = load_dataset("own", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, dataset.episodes)) == rows
    assert peak < 3 * size
