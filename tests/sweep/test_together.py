"""Commands that run at the same time: all end, or the first failure ends the others."""

import time
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.sweep.together import run_together

WAIT = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.02)
print("seen")
"""


def test_the_commands_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for what the other does first."""
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    polls: list[float] = []
    commands = {"a": ["-c", WAIT, first, second], "b": ["-c", WAIT, second, first]}
    run_together(commands, tmp_path / "logs", on_poll=lambda: polls.append(time.monotonic()))
    assert [(tmp_path / "logs" / f"{name}.log").read_text() for name in "ab"] == ["seen\n", "seen\n"]
    assert polls


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('some progress'); sys.exit('error: no such file.')", "The a failed: no such file. What"),
        ("raise SystemExit(3)", "The a failed: it ended with status 3 and printed nothing. What"),
    ],
)
def test_a_failure_ends_the_others_and_is_told(tmp_path: Path, code: str, message: str) -> None:
    endless = ["-c", WAIT, str(tmp_path / "1"), str(tmp_path / "never")]
    with pytest.raises(InputError, match=message) as raised:
        run_together({"b": endless, "a": ["-c", code]}, tmp_path)
    assert str(tmp_path / "a.log") in str(raised.value)
    assert (tmp_path / "b.log").read_text() == ""
