"""The official D4RL files: pinned sizes and hashes, cache and download."""

import csv
import http.client
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from trajectory_adacat.datasets.cache import BLOCK, cache_root, d4rl_folder, file_sha256
from trajectory_adacat.datasets.hdf5 import explain
from trajectory_adacat.errors import DataError
from trajectory_adacat.robots import NamedDataset

BASE_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
CHECKSUMS = Path(__file__).parent / "d4rl_checksums.tsv"
ATTEMPTS_WITHOUT_PROGRESS = 3
TIMEOUT = 30  # seconds without data
SLOWEST = 1000  # bytes a second, in the mean over PATIENCE
PATIENCE = 60  # seconds


class Pace:
    """The rate of a download over all its attempts: `TIMEOUT` alone would let a trickle go on for ever."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._since, self._received = time.monotonic(), 0

    def add(self, n_bytes: int) -> None:
        """Count bytes that were received.

        Raises:
            OSError: if they came more slowly than `SLOWEST` for `PATIENCE` seconds.
        """
        self._received += n_bytes
        seconds = time.monotonic() - self._since
        if seconds < PATIENCE:
            return
        if self._received < SLOWEST * seconds:
            raise OSError(f"fewer than {SLOWEST} bytes a second came for {PATIENCE} seconds")
        self._start()


class OfficialFile(NamedTuple):
    """A pinned official file: its name, its size in bytes and its SHA-256 in hexadecimal."""

    file_name: str
    size: int
    sha256: str

    def __str__(self) -> str:
        """Return size and hash, for error messages."""
        return f"{self.size} bytes, SHA-256 {self.sha256}"

    @property
    def url(self) -> str:
        """The address to download from."""
        return f"{BASE_URL}/{self.file_name}"

    @property
    def target(self) -> Path:
        """The path of the downloaded file."""
        return cache_root() / "d4rl" / self.file_name


def official_file(dataset: NamedDataset) -> OfficialFile:
    """Return the pinned file of an official dataset."""
    stem = f"{dataset.robot.id}_{dataset.quality.replace('-', '_')}-v2"
    with open(CHECKSUMS, newline="") as table:
        rows = {row["file (.hdf5)"]: row for row in csv.DictReader(table, delimiter="\t")}
    return OfficialFile(f"{stem}.hdf5", int(rows[stem]["bytes"]), rows[stem]["sha256"])


def fetch_official(official: OfficialFile) -> Path:
    """Return the path of an official file: in this package's cache, in D4RL's cache, or downloaded.

    Raises:
        DataError: if a cached file differs from the pinned one or cannot be read, or the download fails.
    """
    for path in (official.target, d4rl_folder() / official.file_name):
        try:
            if path.exists():
                _check_cached(path, official)
                return path
        except OSError as error:
            raise DataError(explain(error, path)) from error
    download(official)
    return official.target


def _check_cached(path: Path, official: OfficialFile) -> None:
    if path.stat().st_size != official.size or file_sha256(path) != official.sha256:
        raise DataError(
            f"{path} is not the official file ({official}). Move it away to download the official one, or pass its "
            "path as --dataset_path to use it as an unverified dataset."
        )


def download(official: OfficialFile) -> None:
    """Download an official file into the cache; resume an interrupted download.

    The file is named ``<name>.part`` until its size and hash have been checked.

    Raises:
        DataError: if the download fails or the file differs from the pinned one. The message gives the address and
            the path to save the file to.
    """
    part = official.target.with_name(official.file_name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch_all(official, part)
        is_whole = part.stat().st_size == official.size and file_sha256(part) == official.sha256
        if is_whole:
            os.replace(part, official.target)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if official.target.exists():  # another process has checked and renamed the partial file meanwhile
            return
        if part.exists() and part.stat().st_size == 0:
            part.unlink()
        raise DataError(
            f"Could not download {official.url} ({error}). Try again (a partial download is resumed), or download "
            f"this file ({official}) on another machine and save it as {official.target}, or pass its path as "
            "--dataset_path."
        ) from error
    if not is_whole:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{official.url} is not the pinned file ({official}) and was deleted. To use it anyway, download it "
            "yourself and pass its path as --dataset_path: results will mark the dataset as unverified."
        )


def _tell_redirection(asked: str, answered: str) -> None:
    """Say where a file comes from if that is another host; its hash is checked all the same."""
    if urllib.parse.urlsplit(asked).hostname != urllib.parse.urlsplit(answered).hostname:
        tqdm.write(f"{asked} is redirected to {answered}; the file's SHA-256 is checked", file=sys.stderr)


def _fetch_all(official: OfficialFile, part: Path) -> None:
    attempts, pace = 0, Pace()
    with (
        _open_alone(official, part) as file,
        tqdm(total=official.size, initial=file.tell(), desc=official.file_name, unit="B", unit_scale=True) as bar,
    ):
        while file.tell() < official.size:
            before = file.tell()
            error: Exception = http.client.IncompleteRead(b"", official.size - before)
            try:
                _fetch_rest(official, file, bar, pace)
            except urllib.error.HTTPError as refusal:
                if refusal.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
                return  # the server's file is shorter than ours; the caller checks the size
            except (http.client.IncompleteRead, ConnectionError, TimeoutError) as interruption:
                error = interruption
            attempts = 0 if file.tell() > before else attempts + 1
            if attempts == ATTEMPTS_WITHOUT_PROGRESS:
                raise error


@contextmanager
def _open_alone(official: OfficialFile, part: Path) -> Iterator[BinaryIO]:
    """Open the partial file for appending, while no other process of this machine downloads it.

    Raises:
        DataError: if another process does.
    """
    with open(part, "ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"Another process downloads {official.url} to {part}: wait for it.") from error
        yield file


def _fetch_rest(official: OfficialFile, file: BinaryIO, bar: tqdm, pace: Pace) -> None:
    """Append the missing bytes; start over if the server does not support ranges and sends the whole file."""
    request = urllib.request.Request(official.url, headers={"Range": f"bytes={file.tell()}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        _tell_redirection(official.url, response.url)
        if response.status != http.client.PARTIAL_CONTENT:
            file.seek(0)
            file.truncate()
            bar.reset()
        while file.tell() <= official.size and (block := response.read1(BLOCK)):
            file.write(block)
            bar.update(len(block))
            pace.add(len(block))
