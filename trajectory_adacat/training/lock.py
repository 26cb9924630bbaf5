"""Locks: one training at a time writes into an experiment's folder, and one process at a time rewrites a file."""

import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trajectory_adacat.checks import fits
from trajectory_adacat.errors import InputError
from trajectory_adacat.files import parse_json, read_text

LOCK_FILE = "training.lock"
PATIENCE = 60.0  # seconds to wait for another process to rewrite a file
POLL_SECONDS = 0.02
WITHOUT_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}  # errors of a missing hard link


def process_start(pid: int) -> str | None:
    """Return when a process of this machine started, as the system says it, or None if there is no such process.

    A pid is given again to other processes; with its start it names one process.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]  # a zombie is dead; ticks since the machine's start
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None


def _this_process() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "start": process_start(os.getpid()), "since": since}


def _holder(path: Path) -> dict[str, Any] | None:
    """Return who holds the lock, or None if nobody does; a lock that cannot be read is a killed process's."""
    try:
        holder = parse_json(read_text(path))
        return holder if {"pid", "host", "start", "since"} <= holder.keys() and fits(holder["pid"], int) else None
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    except OSError as error:
        raise InputError(f"The lock {path} cannot be read ({error}): delete it if nothing runs there.") from error


def _is_stale(holder: dict[str, Any] | None) -> bool:
    """Return whether the holder has ended. Of another machine's processes nothing is known: they count as running."""
    if holder is None:
        return True
    return holder["host"] == socket.gethostname() and process_start(int(holder["pid"])) != holder["start"]


def refuse_if_locked(folder: Path, what: str = "training", flag: str = "--exp_name") -> None:
    """Check that no other training runs in an experiment's folder; change nothing.

    Args:
        folder: of the experiment.
        what: what may run there, for the message.
        flag: the flag that names another folder, likewise.

    Raises:
        InputError: naming the process.
    """
    path = folder / LOCK_FILE
    holder = _holder(path)
    if holder is not None and not _is_stale(holder):
        elsewhere = holder["host"] != socket.gethostname()
        hint = f" If that process has ended, delete {path}." if elsewhere else ""
        raise InputError(
            f"Another {what} runs in {folder}: process {holder['pid']} on {holder['host']}, since {holder['since']}. "
            f"Wait for it, stop it, or choose another {flag}.{hint}"
        )


@contextmanager
def locked(folder: Path, what: str = "training", flag: str = "--exp_name") -> Iterator[None]:
    """Hold the lock of an experiment's folder, which is created if needed.

    The lock of a process that has ended is taken over. The arguments are those of `refuse_if_locked`.

    Raises:
        InputError: if another training holds it, or the folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = _take(path, lambda: refuse_if_locked(folder, what, flag))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error}): choose another --logbase.") from error
    try:
        yield
    finally:
        _give_back(path, own)


@contextmanager
def rewriting(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a file that several processes read and rewrite, and wait for it if need be.

    Args:
        path: of the file. Its folder must exist.
        patience: seconds to wait.

    Raises:
        InputError: if another process holds the lock for longer.
        OSError: if the folder cannot be written.
    """
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + patience

    def wait() -> None:
        if time.monotonic() > deadline:
            raise InputError(
                f"Another process has been writing {path} for {patience:g} s: if it has ended, delete {lock}."
            )
        time.sleep(POLL_SECONDS)

    own = _take(lock, wait)
    try:
        yield
    finally:
        _give_back(lock, own)


def _take(path: Path, wait: Callable[[], None]) -> dict[str, Any]:
    """Take a lock and return its holder, this process; ``wait`` is called, again and again, while another holds it."""
    own = _this_process()
    written = path.with_name(f".{path.name}.{os.getpid()}")
    written.write_text(json.dumps(own))
    try:
        while True:
            try:
                _create(written, path)
                return own
            except FileExistsError:
                if _is_stale(_holder(path)):
                    _remove_stale(path)
                else:
                    wait()
    finally:
        written.unlink(missing_ok=True)


def _give_back(path: Path, own: dict[str, Any]) -> None:
    if _holder(path) == own:
        path.unlink(missing_ok=True)


def _create(written: Path, path: Path) -> None:
    """Give a file another name, which must not exist.

    A link never leaves a lock without content. Some network file systems have no hard links: there the file is created,
    and a process that dies between the two calls leaves an empty lock, which counts as stale.

    Raises:
        FileExistsError: if the name exists.
    """
    try:
        os.link(written, path)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with open(descriptor, "wb") as file:
            file.write(written.read_bytes())


def _remove_stale(path: Path) -> None:
    """Remove a stale lock, unless another process has replaced it by its own since."""
    aside = path.with_name(f".{path.name}.stale.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if not _is_stale(_holder(aside)):
        _create(aside, path)
    aside.unlink()
