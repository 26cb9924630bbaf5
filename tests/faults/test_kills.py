"""Commands that are killed at any moment lose nothing and do nothing twice; see `killing` for how it is done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "critic", "collect", "density", "plan")


@pytest.mark.parametrize(
    ("commands", "n_kills"),
    [
        (["train", "critic", "collect", "density"], 4),
        *(pytest.param([command], 50, marks=pytest.mark.slow) for command in COMMANDS),
    ],
    ids=str,
)
def test_commands_that_are_killed_end_with_the_same_bits(tmp_path: Path, commands: list[str], n_kills: int) -> None:
    arguments = ["-m", "tests.faults.killing", str(tmp_path), str(n_kills), *commands]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert list(killed) == commands
    for counts in killed.values():
        assert min(counts["at an event"], counts["after a time"]) >= n_kills // 2 - 1, killed
