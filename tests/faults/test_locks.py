"""Locks without hard links, damaged locks, and clocks that jump."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from tests.training.conftest import MakeTrainer, checkpoint_bytes
from trajectory_adacat.checkpoint import find_checkpoint
from trajectory_adacat.training import lock
from trajectory_adacat.training.lock import LOCK_FILE, locked


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
