"""Commands that are killed at any moment lose nothing and do nothing twice; see `killing` for how it is done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "n_kills"),
    [
        ("train", 4),
        ("critic", 4),
        ("collect", 4),
        *(pytest.param(command, 50, marks=pytest.mark.slow) for command in ("train", "critic", "collect", "plan")),
    ],
)
def test_a_command_that_is_killed_ends_with_the_same_bits(tmp_path: Path, command: str, n_kills: int) -> None:
    arguments = ["-m", "tests.faults.killing", command, str(tmp_path), str(n_kills)]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert min(killed["at an event"], killed["after a time"]) >= n_kills // 2 - 1, killed
