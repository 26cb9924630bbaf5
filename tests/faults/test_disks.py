"""Disks that are full or read-only, folders that vanish, and files of killed processes."""

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
from tests.faults.outputs import contents, planned, recorded, tensors
from tests.scripts.conftest import tiny_flags
from tests.scripts.test_plan import flags as plan_flags
from tests.sweep.conftest import pair, results
from tests.training.conftest import MakeTrainer, checkpoint_bytes
from trajectory_adacat import checkpoint
from trajectory_adacat.checkpoint import find_checkpoint, load_model
from trajectory_adacat.errors import CheckpointError
from trajectory_adacat.files import LEFT_OVER_SECONDS, append_line, write_atomically
from trajectory_adacat.scripts import critic, plan, train
from trajectory_adacat.sweep.runner import JOBS_FILE, Runner
from trajectory_adacat.training.lock import LOCK_FILE


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


def critic_flags(path: Path) -> list[str]:
    """Flags of a tiny critic."""
    words = f"--dataset own --dataset_path {path} --batch_size 8 --hidden_size 8 --mc_steps 2 --holdout_fraction 0.25"
    return [*words.split(), "--n_saves", "2", "--log_freq", "1", "--verbose", "false"]


@pytest.mark.parametrize(("command", "limit"), [("train", 300), ("critic", 3000)])
def test_a_disk_that_fills_up_while_a_training_goes_on_loses_nothing(
    write_dataset: Callable[..., Path], home: Path, capsys: pytest.CaptureFixture[str], command: str, limit: int
) -> None:
    data = write_dataset(9, 8, 7, 6)
    main, flags = (train.main, tiny_flags(data)) if command == "train" else (critic.main, critic_flags(data))
    for name in ("whole", "filled"):
        main([*flags, "--exp_name", name, "--n_steps", "3", "--n_saves", "1"])
    main([*flags, "--exp_name", "whole", "--n_steps", "6", "--resume"])
    folder = home / "logs" / "own" / "filled"
    more = [*flags, "--exp_name", "filled", "--n_steps", "6", "--resume"]
    before = contents(folder / "step_00000003")
    with files_of(limit):
        status, message = refusal(main, more, capsys)
    assert status in (2, 4)
    assert "make room" in message
    assert [path.name for path in folder.glob("*step_*")] == ["step_00000003"]
    assert contents(folder / "step_00000003") == before
    main(more)
    assert tensors(find_checkpoint(folder)) == tensors(find_checkpoint(folder.with_name("whole")))


@pytest.mark.parametrize("room", ["no recording", "half a result"])
def test_a_disk_that_fills_up_while_planning_loses_nothing(
    run_plan: Callable[..., Path], capsys: pytest.CaptureFixture[str], room: str
) -> None:
    folder = run_plan("--record", n_rollouts=4)
    expected, expected_recordings = planned(folder), recorded(folder)
    shutil.rmtree(folder)
    run_plan("--record", n_rollouts=3)
    before = contents(folder)
    words = [*plan_flags(exp_name="plans", n_rollouts=4), "--resume", "--record"]
    size = len(before["rollouts.jsonl"])
    if room == "half a result":  # recordings are shorter
        assert max(map(len, before.values())) == size
    with files_of(500 if room == "no recording" else size + 300):
        status, message = refusal(plan.main, words, capsys)
    assert status in (2, 3)
    assert "make room" in message
    after = contents(folder)
    half = after.pop("rollouts.jsonl")
    assert half.startswith(before.pop("rollouts.jsonl"))
    assert before.items() <= after.items()
    assert not [name for name in after if Path(name).name.startswith(".")]
    assert planned(folder).items() <= expected.items()
    assert {0, 1, 2} <= planned(folder).keys()
    plan.main(words)
    assert planned(folder) == expected
    assert recorded(folder) == expected_recordings


def test_a_disk_that_fills_up_during_a_sweep_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [each for name in "abc" for each in pair(tmp_path, name)]
    folder = tmp_path / "sweep"
    Runner(jobs[:2], 1, folder).run()
    before = (folder / JOBS_FILE).read_bytes()

    def run(argv: object) -> None:
        Runner(jobs, 1, folder).run()

    with files_of(len(before) + 50):
        status, message = refusal(run, [], capsys)
    assert (status, "make room" in message) == (2, True)
    assert (folder / JOBS_FILE).read_bytes().startswith(before)
    assert not (folder / LOCK_FILE).exists()
    Runner(jobs, 1, folder).run()
    done = [json.loads(line)["job"] for line in (folder / JOBS_FILE).read_text().splitlines()]
    assert len(done) == len(set(done))
    assert set(results(tmp_path)) == {"a.txt", "b.txt", "c.txt"}


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
