"""Where datasets are kept, and what identifies a file."""

import hashlib
import os
from pathlib import Path

from tqdm import tqdm

BLOCK = 1 << 20  # bytes
SHOW_PROGRESS_FROM = 1 << 28  # bytes; smaller files are hashed before a progress bar could be read


def cache_root() -> Path:
    """The folder for downloaded and collected datasets: $TRAJECTORY_ADACAT_HOME, else ~/.cache/trajectory_adacat."""
    home = os.environ.get("TRAJECTORY_ADACAT_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "trajectory_adacat"


def d4rl_folder() -> Path:
    """The folder in which D4RL itself keeps its files."""
    return Path.home() / ".d4rl" / "datasets"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; a progress bar is shown for large files."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    hidden = size < SHOW_PROGRESS_FROM
    with (
        open(path, "rb") as file,
        tqdm(total=size, desc=f"checking {path.name}", unit="B", unit_scale=True, disable=hidden, leave=False) as bar,
    ):
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
