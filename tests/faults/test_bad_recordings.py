"""Damaged recordings: one paragraph or the recording that was written, never another one."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.test_recording import some_recording
from trajectory_adacat.errors import DataError
from trajectory_adacat.recording import ARRAYS, Recording, load_recording

VIDEO = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8)  # bytes that do not shrink


def assert_equal(read: Recording, written: Recording) -> None:
    assert read.description == written.description
    for name in ARRAYS:
        found, expected = getattr(read, name), getattr(written, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_a_recording_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rollout_3.npz"
    some_recording(video=VIDEO).save(path)
    whole = path.read_bytes()
    lengths = [*range(0, len(whole), 1024), len(whole) - 1]
    assert len(lengths) > 20
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"rollout_3\.npz cannot be read"):
            load_recording(path)


@pytest.mark.parametrize("step", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_any_byte_is_found_or_changes_nothing(tmp_path: Path, step: int) -> None:
    """The archive has a checksum of each array; the rest, such as the time of an entry, is not read."""
    written, path, bits = some_recording(), tmp_path / "rollout_3.npz", random.Random(0)
    written.save(path)
    whole, n_refused = path.read_bytes(), 0
    for i in range(0, len(whole), step):
        changed = bytearray(whole)
        changed[i] ^= 1 << bits.randrange(8)
        path.write_bytes(changed)
        try:
            read = load_recording(path)
        except DataError as error:
            assert path.name in str(error)
            n_refused += 1
            continue
        assert_equal(read, written)
    assert n_refused > 0.6 * len(whole) / step
