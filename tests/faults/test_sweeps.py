"""A sweep of real jobs loses nothing and does nothing twice, killed or not; see `sweeping` for what it runs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.outputs import lines
from tests.faults.sweeping import NAME
from trajectory_adacat.sweep.runner import FAILURES_FILE, JOBS_FILE

ROOT = Path(__file__).parents[2]
SWEEP = Path("logs", "sweeps", NAME)
N_KILLS, N_STEPS = 10, 40
MOST_NEW = 16  # files that a sweep writes before it is killed, at most
LONGEST = 0.3  # seconds after that
VARYING = {"seconds_per_action", "seconds_per_step", "resume"}  # times, and the flag of a command that goes on


def start(folder: Path, *numbers: int | str) -> "subprocess.Popen[bytes]":
    """Start a sweep as the leader of a process group."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.sweeping", str(folder), *map(str, numbers)]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, *numbers: int | str) -> None:
    status = start(folder, *numbers).wait()
    assert status == 0, (folder / "log.txt").read_text()[-3000:]
    assert not (folder / SWEEP / FAILURES_FILE).exists()


def files(folder: Path) -> list[Path]:
    """Return the files that the jobs have written; they may be written at the same time, where `Path.rglob` fails."""
    return [Path(root, name) for root, _, names in os.walk(folder / "logs" / "own") for name in names]


def without_varying(text: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(text).items() if key not in VARYING}


def content(path: Path) -> Any:
    """Return the bytes of a file, or its records without what varies."""
    if path.suffix == ".jsonl":
        return [without_varying(line) for line in path.read_text().splitlines()]
    return without_varying(path.read_text()) if path.name == "arguments.json" else path.read_bytes()


def contents(folder: Path) -> dict[str, Any]:
    """Return what the jobs have written, by path."""
    return {str(path.relative_to(folder)): content(path) for path in files(folder)}


def done_once(folder: Path) -> list[str]:
    """Return the jobs that were recorded as done; none may be recorded twice."""
    done = [record["job"] for record in lines(folder / SWEEP / JOBS_FILE) if record["ok"]]
    assert len(done) == len(set(done)), "a job was done twice"
    return done


@pytest.mark.slow
def test_a_sweep_whose_processes_are_killed_ten_times_ends_with_the_same_table(tmp_path: Path) -> None:
    killed, whole = tmp_path / "sweep", tmp_path / "whole"
    killed.mkdir()
    finish(killed, 2, N_STEPS)
    killed.rename(whole)  # both in the same folder, whose path is recorded
    killed.mkdir()
    moments = random.Random(0)
    for _ in range(N_KILLS):
        process = start(killed, 2, N_STEPS)
        try:
            enough = len(files(killed)) + moments.randint(1, MOST_NEW)
            while len(files(killed)) < enough:
                assert process.poll() is None, "it ended before it was killed"
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, LONGEST))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        done_once(killed)
    finish(killed, 2, N_STEPS)
    assert len(done_once(whole)) == 8
    assert set(done_once(killed)) <= set(done_once(whole))  # a kill may come between a job's end and its record
    assert (killed / SWEEP / "table.md").read_bytes() == (whole / SWEEP / "table.md").read_bytes()
    assert contents(killed) == contents(whole)


@pytest.mark.slow
def test_a_sweep_in_another_order_with_other_processes_ends_with_the_same_table(tmp_path: Path) -> None:
    folder, first = tmp_path / "sweep", tmp_path / "first"
    finish(folder, 2, 4)
    folder.rename(first)  # both in the same folder, whose path is recorded
    finish(folder, 2, 4, "--processes", "1", "--seeds", "1", "0")
    orders = [[record["job"] for record in lines(path / SWEEP / JOBS_FILE)] for path in (first, folder)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    assert (first / SWEEP / "table.md").read_bytes() == (folder / SWEEP / "table.md").read_bytes()
    assert contents(first) == contents(folder)


@pytest.mark.slow
def test_each_of_many_jobs_is_done_once_and_no_temporary_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, temporary = tmp_path / "sweep", tmp_path / "temporary"
    for path in (folder, temporary):
        path.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    finish(folder, 20)
    assert len(done_once(folder)) == 40
    assert not list(temporary.iterdir())
    left = [path.name for path in files(folder) if path.name.startswith(".") or path.suffix in (".lock", ".part")]
    assert not left
