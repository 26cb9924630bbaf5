"""The official D4RL files: pinned sizes and hashes, the cache, the download."""

import csv
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from trajectory_adacat.datasets.cache import BLOCK, cache_root, d4rl_folder, file_sha256
from trajectory_adacat.errors import InputError

BASE_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
CHECKSUMS = Path(__file__).parent / "d4rl_checksums.tsv"
ATTEMPTS_WITHOUT_PROGRESS = 3
TIMEOUT = 30  # seconds without a byte


class OfficialFile(NamedTuple):
    """An official file as it is pinned: name without folder, size in bytes, SHA-256 in hexadecimal."""

    file_name: str
    size: int
    sha256: str

    def __str__(self) -> str:
        """What identifies the bytes, for error messages."""
        return f"{self.size} bytes, SHA-256 {self.sha256}"

    @property
    def url(self) -> str:
        """Where the file is published."""
        return f"{BASE_URL}/{self.file_name}"

    @property
    def target(self) -> Path:
        """Where a downloaded file is kept."""
        return cache_root() / "d4rl" / self.file_name


def official_file(name: str) -> OfficialFile:
    """The pinned file of an official dataset's name, such as ``hopper-medium-replay-v2``."""
    robot, _, quality = name.removesuffix("-v2").partition("-")
    stem = f"{robot}_{quality.replace('-', '_')}-v2"
    with open(CHECKSUMS, newline="") as table:
        rows = {row["file (.hdf5)"]: row for row in csv.DictReader(table, delimiter="\t")}
    return OfficialFile(f"{stem}.hdf5", int(rows[stem]["bytes"]), rows[stem]["sha256"])


def fetch_official(name: str) -> Path:
    """The path of an official file, from the cache, from D4RL's own cache, or downloaded.

    Raises:
        InputError: if a file in a cache differs from the pinned one, or the download fails.
    """
    official = official_file(name)
    for path in (official.target, d4rl_folder() / official.file_name):
        if path.exists():
            _check_cached(path, official)
            return path
    download(official)
    return official.target


def _check_cached(path: Path, official: OfficialFile) -> None:
    if path.stat().st_size != official.size or file_sha256(path) != official.sha256:
        raise InputError(
            f"{path} is not the official file ({official}): move it away to have the official one downloaded, or give "
            "its path by --dataset_path to use it as an unverified dataset."
        )


def download(official: OfficialFile) -> None:
    """Download an official file into the cache; a download that was cut goes on where it stopped.

    The file appears under its name only when size and hash are right; until then it is called ``<name>.part``.

    Raises:
        InputError: if the network fails, saying what to fetch and where to put it, or if the bytes are not the pinned
            ones.
    """
    part = official.target.with_name(official.file_name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch_all(official, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if part.exists() and part.stat().st_size == 0:
            part.unlink()
        raise InputError(
            f"Could not download {official.url} ({error}). Try again (a partial download goes on where it stopped), or "
            f"fetch that file ({official}) on another machine and put it at {official.target}, or give its path by "
            "--dataset_path."
        ) from error
    if part.stat().st_size != official.size or file_sha256(part) != official.sha256:
        part.unlink()
        raise InputError(
            f"{official.url} is not the file that is pinned here ({official}); nothing was kept. To use what that "
            "address has now, fetch it yourself and give its path by --dataset_path: it will be called unverified."
        )
    os.replace(part, official.target)


def _fetch_all(official: OfficialFile, part: Path) -> None:
    attempts = 0
    with (
        open(part, "ab") as file,
        tqdm(total=official.size, initial=file.tell(), desc=official.file_name, unit="B", unit_scale=True) as bar,
    ):
        while file.tell() < official.size:
            before = file.tell()
            error: Exception = http.client.IncompleteRead(b"", official.size - before)
            try:
                _fetch_rest(official, file, bar)
            except urllib.error.HTTPError as refusal:
                if refusal.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
                return  # the server's file ends before ours: the caller finds the wrong size
            except (http.client.IncompleteRead, ConnectionError, TimeoutError) as cut:
                error = cut
            attempts = 0 if file.tell() > before else attempts + 1
            if attempts == ATTEMPTS_WITHOUT_PROGRESS:
                raise error


def _fetch_rest(official: OfficialFile, file: BinaryIO, bar: tqdm) -> None:
    """Append what is missing; a server that does not know ranges sends all, and the file starts over."""
    request = urllib.request.Request(official.url, headers={"Range": f"bytes={file.tell()}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            file.seek(0)
            file.truncate()
            bar.reset()
        while file.tell() <= official.size and (block := response.read1(BLOCK)):
            file.write(block)
            bar.update(len(block))
