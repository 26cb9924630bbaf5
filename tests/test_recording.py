"""Recordings survive the disk, and damaged ones are refused with their name."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from trajectory_adacat import recording
from trajectory_adacat.errors import InputError
from trajectory_adacat.recording import ARRAYS, FORMAT, Recording, find_recordings, load_recording

N, T, H, D, K = 2, 7, 3, 7, 5  # plans, steps, horizon, dimensions, bins


def some_recording(**changes: object) -> Recording:
    generator = np.random.default_rng(0)
    shapes = {
        "observations": (T + 1, 3),
        "actions": (T, 2),
        "rewards": (T,),
        "plans": (N, H, D),
        "spread": (N, 3, H, D),
        "scores": (N,),
        "score_spread": (N, 3),
        "realized": (N,),
        "low": (D,),
        "high": (D,),
        "pit": (N, 4),
        "widths": (N, D, K),
        "masses": (N, D, K),
    }
    arrays = {name: generator.random(shape, np.float32) for name, shape in shapes.items()}
    kept = generator.random((N, D, K)) > 0.5
    arrays |= {"steps": np.array([0, 5]), "kept": kept, "video": np.arange(4, dtype=np.uint8)}
    return Recording(**{"description": {"format": FORMAT, "rollout_seed": 3}, **arrays, **changes})  # type: ignore[arg-type]


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = some_recording()
    written.save(tmp_path / "new" / "recordings" / "rollout_3.npz")
    (path,) = find_recordings(tmp_path)
    read = load_recording(path)
    assert read.description == written.description
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert [file.name for file in path.parent.iterdir()] == ["rollout_3.npz"]


def test_damaged_recordings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rollout_0.npz"
    with pytest.raises(InputError, match=r"rollout_0\.npz cannot be read"):
        load_recording(path)
    some_recording().save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"rollout_0\.npz cannot be read"):
            load_recording(path)


def test_recordings_of_another_format_or_with_odd_lengths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rollout_0.npz"
    some_recording(description={"format": FORMAT + 1}).save(path)
    with pytest.raises(InputError, match=f"format {FORMAT + 1}, not {FORMAT}"):
        load_recording(path)
    some_recording(rewards=np.zeros(T - 1)).save(path)
    with pytest.raises(InputError, match=r"do not fit together \(rewards\)"):
        load_recording(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("observations", (T, 3)),
        ("plans", (N, H, D - 1)),
        ("spread", (N, 2, H, D)),
        ("scores", (N, 1)),
        ("pit", (N, 3)),
        ("low", (D - 1,)),
        ("masses", (N, D, K - 1)),
        ("steps", (N + 1,)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "rollout_0.npz"
    some_recording(**{name: np.zeros(shape)}).save(path)
    with pytest.raises(InputError, match=r"rollout_0\.npz is damaged"):
        load_recording(path)


def test_plans_after_the_end_and_arrays_with_other_axes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rollout_0.npz"
    for changes in ({"steps": np.array([0, T])}, {"actions": np.zeros(T)}, {"widths": np.zeros((N, D))}):
        some_recording(**changes).save(path)
        with pytest.raises(InputError, match=r"rollout_0\.npz is damaged"):
            load_recording(path)


def test_recordings_larger_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rollout_0.npz"
    some_recording().save(path)
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(recording, "LARGEST_RECORDING", size)
    load_recording(path)
    monkeypatch.setattr(recording, "LARGEST_RECORDING", size - 1)
    with pytest.raises(InputError, match=f"more than {size - 1} bytes"):
        load_recording(path)


def replace_header(path: Path, name: str, header: bytes) -> None:
    """Replace the header of an array, whose length stays; the checksum fits."""
    with zipfile.ZipFile(path) as archive:
        members = {entry: archive.read(entry) for entry in archive.namelist()}
    whole = members[f"{name}.npy"]
    start = 10  # after magic text, version and length
    end = start + int.from_bytes(whole[8:start], "little")
    members[f"{name}.npy"] = whole[:start] + header.ljust(end - start)[: end - start] + whole[end:]
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in members.items():
            archive.writestr(entry, content)


@pytest.mark.parametrize(
    "header",
    [b'{"descr": """<f4', b"{'descr': '<f4', 'shape': (", b"(" * 200, b"\x00", b"{}", b"[]", b"{'descr': 1}"],
    ids=range(7),
)
def test_headers_that_python_cannot_read_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "rollout_0.npz"
    some_recording().save(path)
    replace_header(path, "rewards", header)
    with pytest.raises(InputError, match=r"rollout_0\.npz cannot be read"):
        load_recording(path)


def test_a_header_is_what_the_test_above_replaces(tmp_path: Path) -> None:
    path = tmp_path / "rollout_0.npz"
    some_recording().save(path)
    shape = f"'shape': ({T},)".encode()
    replace_header(path, "rewards", b"{'descr': '<f4', 'fortran_order': False, " + shape + b"}")
    np.testing.assert_array_equal(load_recording(path).rewards, some_recording().rewards)
