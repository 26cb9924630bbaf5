"""Read files without trusting them, and write files so that a process that dies leaves none in halves."""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_JSON = 1 << 26  # bytes
LEFT_OVER_SECONDS = 3600.0  # age of a temporary file whose process has surely ended


def expand(path: str | Path) -> Path:
    """Return a path with the home folder in place of ``~``; one of an unknown user (``~nobody/x``) stays as it is."""
    return Path(os.path.expanduser(path))


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        OSError: if it cannot be opened, or is a device or a pipe, which may never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(number, "it is not a regular file", str(path))
        yield file


def read_text(path: Path, limit: int = LARGEST_JSON) -> str:
    """Read a file of UTF-8.

    Raises:
        OSError: as `open_regular`, or if the file is larger than ``limit`` bytes.
        UnicodeDecodeError: if it is not UTF-8.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return content.decode("utf-8")


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole; a process that dies meanwhile leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        remove_left_over(temporary, f".{path.name}.*")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_over(new: Path, pattern: str) -> None:
    """Remove the temporary files that killed processes left beside a new one.

    Their age is told by the file system's own clock, which may differ from this machine's.
    """
    now = new.stat().st_mtime
    for path in new.parent.glob(pattern):
        try:
            if now - path.stat().st_mtime > LEFT_OVER_SECONDS:
                path.unlink()
        except OSError:  # another process has removed it
            continue


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record to a file of JSON lines; an incomplete last line, left by a killed process, is removed."""
    line = (json.dumps(record) + "\n").encode()
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        file.write(line)


def synchronize(folder: Path) -> None:
    """Write a folder's files through to the disk, so that a crash of the machine leaves them whole."""
    for path in [*folder.iterdir(), folder]:
        if path.is_dir() and os.name == "nt":  # Windows opens no folder
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
                raise
        finally:
            os.close(descriptor)
