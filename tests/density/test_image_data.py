"""The reader of MNIST, on small files of the same format."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from trajectory_adacat.density.image_data import (
    PACKAGE,
    TEST_FILE,
    TRAINING_FILE,
    load_mnist,
    read_file,
    read_idx,
    shrink_images,
)
from trajectory_adacat.errors import InputError


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(count, 4, 6), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """IDX files of 10 training and 5 test images, one of them gzipped."""
    (tmp_path / TRAINING_FILE).write_bytes(idx(images(10)))
    (tmp_path / f"{TEST_FILE}.gz").write_bytes(gzip.compress(idx(images(5, seed=1))))
    return tmp_path


def test_the_last_training_images_are_for_validation(folder: Path) -> None:
    data = load_mnist(folder, shrink=1, n_validation=3, n_test=None)
    assert np.array_equal(np.concatenate((data.training, data.validation)), images(10))
    assert len(data.validation) == 3
    assert np.array_equal(data.test, images(5, seed=1))
    assert len(load_mnist(folder, shrink=1, n_validation=3, n_test=2).test) == 2


def test_squares_of_pixels_are_averaged(folder: Path) -> None:
    data = load_mnist(folder, shrink=2, n_validation=1, n_test=None)
    assert data.test.shape == (5, 2, 3)
    assert data.test[0, 0, 1] == round(float(images(5, seed=1)[0, :2, 2:4].mean()))
    with pytest.raises(InputError, match="--shrink must divide 4 and 6"):
        shrink_images(images(1), 3)


def test_the_package_is_read_if_its_hash_is_right(tmp_path: Path) -> None:
    content = idx(images(3))
    with tarfile.open(tmp_path / PACKAGE, "w:gz") as archive:
        member = tarfile.TarInfo(f"package/data/{TEST_FILE}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    sha256 = hashlib.sha256((tmp_path / PACKAGE).read_bytes()).hexdigest()
    assert read_file(tmp_path, TEST_FILE, sha256) == content
    with pytest.raises(InputError, match="damaged or another version"):
        read_file(tmp_path, TEST_FILE)


def test_what_is_missing_or_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make mnist"):
        load_mnist(tmp_path / "other", 1, 1, None)
    whole = idx(images(2))
    for content in (whole[:-1], whole + b"0", whole[:6]):
        with pytest.raises(InputError, match="file has"):
            read_idx(content, "file")
    with pytest.raises(InputError, match="no IDX file"):
        read_idx(b"\x00\x00\x0d\x01" + whole[4:], "file")  # floats


def test_a_damaged_gzipped_file_is_named(folder: Path) -> None:
    path = folder / f"{TEST_FILE}.gz"
    whole = path.read_bytes()
    for content in (whole[:-12], whole[:30], whole[:5], b"", b"other", whole[:-8] + bytes(8), whole[:10] + b"0" * 40):
        path.write_bytes(content)
        with pytest.raises(InputError, match=TEST_FILE):
            load_mnist(folder, 1, 1, None)


@pytest.mark.parametrize(("n_validation", "n_test", "flag"), [(10, None, "n_validation"), (1, 6, "n_test")])
def test_sizes_beyond_the_files_are_refused(folder: Path, n_validation: int, n_test: int | None, flag: str) -> None:
    with pytest.raises(InputError, match=f"--{flag}"):
        load_mnist(folder, 1, n_validation, n_test)
