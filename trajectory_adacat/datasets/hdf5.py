"""Open HDF5 files, with one message for each reason why it may fail, and read what is in the file itself.

What lies in other files (external links, virtual datasets, external storage) is refused, not followed. So is a file
that would take far more memory than its size lets expect.
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.files import open_regular

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_LINKS = 16  # from one to the next
EXPECTED_RATIO, EXPECTED_BYTES = 100, 1 << 28  # arrays larger than both, the first in sizes of the file, are a bomb
FIRST_USER_BLOCK = 512  # bytes; the signature stands at 0, or at this or a power of two times it
# How other files begin that are taken for a dataset.
LOOKALIKES = {
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
    b"\x1f\x8b": "compressed with gzip: decompress it first",
    b"PK\x03\x04": "a zip file (so are .npz files): extract or convert it",
    b"<": "a web page: the download failed",
}


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: if the file is missing, a folder, not readable, not HDF5, in use by another process, cut short or
            damaged. The message says which; so does one that is raised while the file is read.
    """
    try:
        _check_signature(path)
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is: use a machine with more, or fewer rows.") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:  # h5py raises all of them
        raise DataError(explain(error, path)) from error


def explain(error: Exception, path: Path) -> str:
    """Return what an error of the operating system or of HDF5 means for a file, and what to do."""
    text, number = str(error), getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError):
        return f"There is no dataset file {path}."
    if isinstance(error, IsADirectoryError):
        return f"There is no dataset file {path}: it is a folder."
    if "not a regular file" in text:
        return f"There is no dataset file {path}: it is a device or a pipe."
    if "unable to lock file" in text or number in (errno.EAGAIN, errno.EDEADLK):
        return (
            f"{path} is in use: another process has it open for writing ({error}). Wait until that has closed it. If "
            "there is none, the file system may lack locks: set HDF5_USE_FILE_LOCKING=FALSE."
        )
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return f"{path} cannot be read for lack of permission: give yourself the right (chmod u+r), or copy the file."
    if "already open for write" in text:
        return f"{path} was not closed by the program that wrote it ({error}): end that, or run `h5clear -s {path}`."
    if "truncated file" in text:
        return f"{path} is cut short, not a complete HDF5 file ({error}): download or create it again."
    return f"{path} is not a complete HDF5 file ({error}): it is damaged; download or create it again."


def _check_signature(path: Path) -> None:
    with open_regular(path) as file:  # raises what the operating system has against it
        start = file.read(64)
        position = 0
        while len(signature := _read_at(file, position)) == len(SIGNATURE):
            if signature == SIGNATURE:
                return
            position = max(FIRST_USER_BLOCK, 2 * position)
    if not start:
        raise DataError(f"{path} is not a complete HDF5 file: it is empty. Download or create it again.")
    known = next((what for begin, what in LOOKALIKES.items() if start.lstrip().startswith(begin)), None)
    hint = f"it is {known}" if known else f"it begins with {start[:16]!r}. Give a D4RL-format HDF5 file"
    raise DataError(f"{path} is not an HDF5 file: {hint}.")


def _read_at(file: Any, position: int) -> bytes:
    file.seek(position)
    return file.read(len(SIGNATURE))


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return the dataset of a name; None if there is nothing, or a group.

    Raises:
        DataError: if it, or a part of it, lies in another file.
    """
    found = _follow(file, name.split("/"), file.filename)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.is_virtual or found.external:
        raise DataError(_elsewhere(name, file.filename))
    return found


def _follow(file: h5py.File, parts: list[str], path: str) -> h5py.Group | h5py.Dataset | None:
    """Follow a name through groups and links within the file."""
    found, rest, n_links = file, [part for part in parts if part], 0
    while rest:
        if not isinstance(found, h5py.Group):
            return None
        link = found.get(rest[0], getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(_elsewhere("/".join(parts), path))
        if isinstance(link, h5py.SoftLink):
            n_links += 1
            if n_links > MOST_LINKS:
                return None
            rest = [part for part in link.path.split("/") if part not in ("", ".")] + rest[1:]
            found = file if link.path.startswith("/") else found
            continue
        found, rest = found[rest[0]], rest[1:]
    return found


def _elsewhere(name: str, path: str) -> str:
    return (
        f"{path}: {name} lies in another file, which is not read: copy its contents into this one (h5repack, h5copy)."
    )


def check_memory(datasets: Iterable[h5py.Dataset], path: Path) -> None:
    """Check that datasets together take about as much memory as the file's size lets expect.

    Raises:
        DataError: if they take far more.
    """
    needed, size = sum(dataset.nbytes for dataset in datasets), path.stat().st_size
    if needed > max(EXPECTED_BYTES, EXPECTED_RATIO * size):
        raise DataError(
            f"{path} has {size} bytes, and its arrays would take {needed}: that is no recording. If it is, write it "
            "again without compression."
        )


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """Return a file's attributes as JSON values: bytes are decoded, arrays are lists, what JSON lacks is its text."""
    return {key: _plain(value) for key, value in file.attrs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return None if isinstance(value, h5py.Empty) else str(value)
