"""The lock of an experiment's folder: who holds it, when it is stale, and that it goes away."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.training.lock import LOCK_FILE, locked, process_start, refuse_if_locked, rewriting


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which runs until the test ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def write_lock(folder: Path, pid: int, **changes: object) -> dict[str, object]:
    holder = {"pid": pid, "host": socket.gethostname(), "start": process_start(pid), "since": "noon"} | changes
    (folder / LOCK_FILE).write_text(json.dumps(holder))
    return holder


def test_a_lock_names_its_process_and_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder):
        holder = json.loads((folder / LOCK_FILE).read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    assert list(folder.iterdir()) == []


def test_a_lock_goes_away_when_the_training_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_running_process_is_named_and_keeps_its_lock(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    holder = write_lock(tmp_path, other.pid)
    message = rf"Another training runs in {tmp_path}: process {other.pid} on {socket.gethostname()}, since noon\."
    with pytest.raises(InputError, match=message), locked(tmp_path):
        pytest.fail("the lock was given twice")
    with pytest.raises(InputError, match=message):
        refuse_if_locked(tmp_path)
    assert json.loads((tmp_path / LOCK_FILE).read_text()) == holder
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    write_lock(tmp_path, other.pid)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert process_start(other.pid) is None
    refuse_if_locked(tmp_path)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_pid_that_was_given_again_does_not_hold_the_lock(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    write_lock(tmp_path, other.pid, start="long before")
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_another_machine_counts_as_running(tmp_path: Path) -> None:
    write_lock(tmp_path, 2**22 + 1, host="elsewhere", start="1")
    with pytest.raises(InputError, match=rf"on elsewhere.*If that process has ended, delete .*{LOCK_FILE}"):
        refuse_if_locked(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_lock_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_one_of_several_processes_that_start_at_once_gets_a_stale_lock(tmp_path: Path) -> None:
    write_lock(tmp_path, os.getpid(), start="long before")
    code = (
        "import sys, time; from pathlib import Path; from trajectory_adacat.training.lock import locked\n"
        "try:\n"
        "    with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
        "except ValueError: print('refused', flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.stdout.readline().strip() for process in running if process.stdout is not None]
    for process in running:
        process.communicate("")
    assert sorted(said) == ["held", "refused", "refused", "refused"]
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the refusal is simulated."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(InputError, match=r"cannot be written.*choose another --logbase"), locked(tmp_path):
        pytest.fail("there is no lock")


def test_the_lock_of_a_file_is_waited_for(
    tmp_path: Path, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lock(tmp_path, other.pid)
    held = (tmp_path / LOCK_FILE).rename(tmp_path / "lines.lock")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            held.unlink()

    monkeypatch.setattr(time, "sleep", sleep)
    with rewriting(tmp_path / "lines"):
        assert len(waited) == 3
        assert json.loads(held.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_the_lock_of_a_file_ends(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    write_lock(tmp_path, other.pid)
    (tmp_path / LOCK_FILE).rename(tmp_path / "lines.lock")
    with (
        pytest.raises(InputError, match=r"lines for 0\.1 s: .* delete .*lines\.lock"),
        rewriting(tmp_path / "lines", 0.1),
    ):
        pytest.fail("the lock was given twice")
