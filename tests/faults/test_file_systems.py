"""File systems that refuse to rename, and those with coarse time stamps."""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.forging import refusal
from tests.faults.outputs import contents, planned, recorded, tensors
from tests.scripts.conftest import tiny_flags
from tests.scripts.test_plan import flags as plan_flags
from tests.training.conftest import MakeTrainer, checkpoint_bytes
from trajectory_adacat.checkpoint import find_checkpoint
from trajectory_adacat.scripts import plan, train


@pytest.fixture
def second_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of another file system than the temporary files."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_a_folder_behind_a_link_to_another_disk_is_written_like_any(
    run_plan: Callable[..., Path], write_dataset: Callable[..., Path], home: Path, second_disk: Path
) -> None:
    """A file that was renamed from one disk to the other would be refused."""
    flags = [*tiny_flags(write_dataset(9, 8, 7, 6)), "--exp_name", "new"]

    def run() -> tuple[Any, ...]:
        train.main([*flags, "--n_steps", "3", "--n_saves", "1"])
        train.main([*flags, "--resume"])
        folder = run_plan("--record")
        return tensors(find_checkpoint(folder.with_name("new"))), planned(folder), recorded(folder)

    whole = run()
    for name in ("new", "plans"):
        shutil.rmtree(home / "logs" / "own" / name)
    shutil.move(home / "logs", second_disk)
    (home / "logs").symlink_to(second_disk / "logs")
    assert run() == whole
    assert (second_disk / "logs" / "own" / "plans" / "rollouts.jsonl").exists()


@contextlib.contextmanager
def renames_refused(of_folders_alone: bool) -> Iterator[None]:
    """Refuse to rename, as file systems do that lay one folder over another, or that end at a mount point."""
    rename = os.rename

    def refuse(source: Any, target: Any) -> None:
        if not of_folders_alone or os.path.isdir(source):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(os, name, refuse)
        yield


@pytest.mark.parametrize(("flag", "of_folders_alone"), [("--resume", False), ("--resume", True), ("--overwrite", True)])
def test_a_training_that_cannot_rename_loses_nothing(
    write_dataset: Callable[..., Path],
    home: Path,
    capsys: pytest.CaptureFixture[str],
    of_folders_alone: bool,
    flag: str,
) -> None:
    flags = [*tiny_flags(write_dataset(9, 8, 7, 6)), "--exp_name", "new"]
    train.main([*flags, "--n_steps", "3", "--n_saves", "1"])
    folder = home / "logs" / "own" / "new"
    before = contents(folder / "step_00000003")
    with renames_refused(of_folders_alone):
        status, message = refusal(train.main, [*flags, flag], capsys)
    assert status in (2, 4)
    assert "Invalid cross-device link" in message
    assert contents(folder / "step_00000003") == before
    assert [path.name for path in folder.glob("*step_*")] == ["step_00000003"]
    train.main([*flags, flag])


def test_a_planning_that_cannot_rename_loses_nothing(
    run_plan: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_plan("--record", n_rollouts=2)
    before = contents(folder)
    words = [*plan_flags(exp_name="plans", n_rollouts=3), "--resume", "--record"]
    with renames_refused(False):
        status, message = refusal(plan.main, words, capsys)
    assert (status, "Invalid cross-device link" in message) == (3, True)
    assert contents(folder) == before
    plan.main(words)
    assert planned(folder).keys() == recorded(folder).keys() == {0, 1, 2}


@pytest.fixture
def coarse_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stamps of whole, even seconds, as some file systems have."""
    stat = os.stat

    def round_down(*arguments: Any, **options: Any) -> os.stat_result:
        found = stat(*arguments, **options)
        return os.stat_result([*found[:7], *(seconds // 2 * 2 for seconds in found[7:10])])

    monkeypatch.setattr(os, "stat", round_down)


def test_coarse_time_stamps_change_nothing(
    make_trainer: MakeTrainer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make_trainer(tmp_path / "whole", n_saves=4).train()
    request.getfixturevalue("coarse_times")
    other = tmp_path / "coarse" / ".metrics.jsonl.1"  # another process's, which is being written
    other.parent.mkdir()
    other.write_text("")
    os.utime(other, (time.time() - 3, time.time() - 3))
    assert other.stat().st_mtime % 2 == 0
    make_trainer(tmp_path / "coarse", n_saves=4).train()
    assert checkpoint_bytes(tmp_path / "coarse", 4) == checkpoint_bytes(tmp_path / "whole", 4)
    assert find_checkpoint(tmp_path / "coarse").name == "step_00000004"
    assert other.exists()


def test_data_that_change_within_a_time_stamp_are_noticed(
    coarse_times: None, write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(9, 8, 7, 6)
    train.main(tiny_flags(data))
    before = data.stat()
    write_dataset(9, 8, 7, 6, seed=1)
    os.utime(data, (before.st_mtime, before.st_mtime))
    assert (data.stat().st_mtime, data.stat().st_size) == (before.st_mtime, before.st_size)
    status, message = refusal(train.main, [*tiny_flags(data, n_steps=8), "--resume"], capsys)
    assert (status, "was trained on other data" in message) == (2, True)
