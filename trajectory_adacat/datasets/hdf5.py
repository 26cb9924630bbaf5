"""Open HDF5 files, with one message for each reason why it may fail, and read their attributes as JSON values."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trajectory_adacat.errors import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
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
        InputError: if the file is missing, a folder, not readable, not HDF5, in use by another process, cut short or
            damaged. The message says which; so does one that is raised while the file is read.
    """
    try:
        _check_signature(path)
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError) as error:  # h5py raises both
        raise InputError(explain(error, path)) from error


def explain(error: Exception, path: Path) -> str:
    """Return what an error of the operating system or of HDF5 means for a file, and what to do."""
    text, number = str(error), getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError):
        return f"There is no dataset file {path}."
    if isinstance(error, IsADirectoryError):
        return f"There is no dataset file {path}: it is a folder."
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
    with open(path, "rb") as file:  # raises what the operating system has against it
        start = file.read(64)
        position = 0
        while len(signature := _read_at(file, position)) == len(SIGNATURE):
            if signature == SIGNATURE:
                return
            position = max(FIRST_USER_BLOCK, 2 * position)
    if not start:
        raise InputError(f"{path} is not a complete HDF5 file: it is empty. Download or create it again.")
    known = next((what for begin, what in LOOKALIKES.items() if start.lstrip().startswith(begin)), None)
    hint = f"it is {known}" if known else f"it begins with {start[:16]!r}. Give a D4RL-format HDF5 file"
    raise InputError(f"{path} is not an HDF5 file: {hint}.")


def _read_at(file: Any, position: int) -> bytes:
    file.seek(position)
    return file.read(len(SIGNATURE))


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
