"""Disks that are full, read-only or of a network, folders that vanish, and clocks that jump."""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.forging import refusal
from tests.scripts.conftest import tiny_flags
from tests.training.conftest import MakeTrainer, checkpoint_bytes
from trajectory_adacat import checkpoint
from trajectory_adacat.checkpoint import find_checkpoint, load_model
from trajectory_adacat.errors import CheckpointError
from trajectory_adacat.files import LEFT_OVER_SECONDS, append_line, write_atomically
from trajectory_adacat.scripts import train
from trajectory_adacat.training import lock
from trajectory_adacat.training.lock import LOCK_FILE, locked


@contextlib.contextmanager
def files_of(limit: int) -> Iterator[None]:
    """Let a file of this process have so many bytes: a write beyond them fails, as on a full disk."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # Python would cut the code of what it imports
    ends = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ends)
        sys.dont_write_bytecode = writes


@pytest.mark.parametrize("limit", [4000, 400])
def test_a_full_disk_is_named_and_leaves_no_half_checkpoint(
    write_dataset: Callable[..., Path], home: Path, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    flags = tiny_flags(write_dataset(9, 8, 7, 6), n_saves=6)
    with files_of(limit):
        status, message = refusal(train.main, flags, capsys)
    assert status in (2, 4)
    assert "make room" in message or "cannot be written" in message
    assert not list(home.rglob("*step_*"))
    train.main(flags)


def test_a_checkpoint_that_cannot_be_written_keeps_the_earlier_ones(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file, calls = checkpoint.save_file, []

    def fill_up(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", fill_up)
    with pytest.raises(CheckpointError, match=r"step_00000002 could not be written .*No space left.*make room"):
        make_trainer(tmp_path, n_saves=4).train()
    assert [path.name for path in tmp_path.glob("*step_*")] == ["step_00000001"]
    load_model(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/sys").exists(), reason="needs a read-only file system")
def test_a_read_only_file_system_is_named(
    write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Even root cannot write to /sys/kernel."""
    flags = [*tiny_flags(write_dataset(9, 8, 7, 6)), "--logbase", "/sys/kernel"]
    status, message = refusal(train.main, flags, capsys)
    assert (status, "choose another --logbase" in message) == (2, True)


def test_a_folder_that_vanishes_is_made_again(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path / "whole", n_saves=4).train()
    folder = tmp_path / "vanishing"
    seen = []

    def vanish() -> None:
        seen.append(1)
        if len(seen) == 2:
            shutil.rmtree(folder)

    make_trainer(folder, n_saves=4).train(vanish)
    assert checkpoint_bytes(folder, 4) == checkpoint_bytes(tmp_path / "whole", 4)


# -- locks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no hard links."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(lock.os, "link", refuse)


def test_a_lock_needs_no_hard_links(without_links: None, home: Path) -> None:
    with locked(home):
        holder = json.loads((home / LOCK_FILE).read_text())
        assert holder["pid"] == os.getpid()
        with pytest.raises(lock.InputError, match="Another training runs"), locked(home):
            pass
    assert list(home.iterdir()) == []
    (home / LOCK_FILE).write_text(json.dumps({**holder, "start": "never"}))
    with locked(home):
        pass
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "[" * 100_000, '{"pid": "x", "host": "h", "start": "s", "since": "t"}', "\x00" * 99]
)
def test_a_lock_that_is_none_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    with locked(tmp_path):
        pass


def test_a_lock_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).symlink_to("/dev/zero")
    with pytest.raises(lock.InputError, match=r"training\.lock"), locked(tmp_path):
        pass


def test_a_clock_that_jumps_changes_nothing(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trainer(tmp_path / "whole", n_saves=4).train()
    jumps = iter([1e9, -1e9, 0.0, 4e9, -4e9] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    with locked(tmp_path / "jumping"):
        make_trainer(tmp_path / "jumping", n_saves=4).train()
    assert checkpoint_bytes(tmp_path / "jumping", 4) == checkpoint_bytes(tmp_path / "whole", 4)
    assert all(line["seconds_per_step"] >= 0 for line in train_lines(tmp_path / "jumping"))
    assert find_checkpoint(tmp_path / "jumping").name == "step_00000004"


def train_lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["", '{"a": 1}\n', '{"a": 1}\n{"b', '{"b'])
def test_a_line_is_never_added_to_half_a_line(tmp_path: Path, left: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(left)
    append_line(path, {"c": 3})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [*([{"a": 1}] if "\n" in left else []), {"c": 3}]


def test_temporary_files_of_killed_processes_are_removed_once_they_are_old(home: Path) -> None:
    path = home / "file.json"
    for name, age in ((".file.json.1", LEFT_OVER_SECONDS + 60), (".file.json.2", 60), (".other.json.3", 1e6)):
        (home / name).write_text("half")
        os.utime(home / name, (time.time() - age, time.time() - age))
    write_atomically(path, "whole")
    assert sorted(file.name for file in home.iterdir()) == [".file.json.2", ".other.json.3", "file.json"]
    assert path.read_text() == "whole"
