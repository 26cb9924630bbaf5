"""The folders of dataset files, and the hash that identifies a file."""

import hashlib
import os
from pathlib import Path

from tqdm import tqdm

from trajectory_adacat.files import expand, open_regular

BLOCK = 1 << 20  # bytes
PROGRESS_BAR_FROM = 1 << 28  # bytes; smaller files are hashed too fast for a progress bar


def cache_root() -> Path:
    """Return the folder of downloaded and collected files.

    It is $TRAJECTORY_ADACAT_HOME, or ~/.cache/trajectory_adacat where that variable is not set.
    """
    home = os.environ.get("TRAJECTORY_ADACAT_HOME")
    return expand(home) if home else Path.home() / ".cache" / "trajectory_adacat"


def d4rl_folder() -> Path:
    """Return the folder in which the d4rl library caches its files."""
    return Path.home() / ".d4rl" / "datasets"


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal, with a progress bar for large files.

    Raises:
        OSError: as `open_regular`.
    """
    digest = hashlib.sha256()
    size = path.stat().st_size
    hidden = size < PROGRESS_BAR_FROM
    with (
        open_regular(path) as file,
        tqdm(total=size, desc=f"checking {path.name}", unit="B", unit_scale=True, disable=hidden, leave=False) as bar,
    ):
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
