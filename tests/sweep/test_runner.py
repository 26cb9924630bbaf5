"""What a sweep runs and leaves, when jobs fail, are done before, are interrupted or killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.sweep.runner import RUNNING_FILE, Runner, start_python
from trajectory_adacat.training.lock import locked, process_start

from .conftest import FAIL, job, pair, results, run_pairs

ROOT = Path(__file__).parents[2]


def start(root: Path) -> "subprocess.Popen[bytes]":
    """Start `run_pairs` as the leader of a process group."""
    command = [sys.executable, "-m", "tests.sweep.conftest", str(root)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.fixture
def sweep(tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A sweep whose jobs run."""
    process = start(tmp_path)
    while not list(tmp_path.glob("models/*/step_*")):
        assert process.poll() is None
        time.sleep(0.02)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def recorded(root: Path) -> list[int]:
    return [running["pid"] for running in json.loads((root / "sweep" / RUNNING_FILE).read_text())]


def test_every_job_runs_after_what_it_needs_and_none_twice(tmp_path: Path) -> None:
    jobs = [*pair(tmp_path, "a"), *pair(tmp_path, "b")]
    for _ in range(2):
        runner = Runner(jobs, 2, tmp_path / "sweep")
        runner.run()
        assert runner.failures == []
    lines = [json.loads(line) for line in (tmp_path / "sweep" / "jobs.jsonl").read_text().splitlines()]
    assert sorted(line["job"] for line in lines) == ["plan a", "plan b", "train a", "train b"]
    assert set(results(tmp_path)) == {"a.txt", "b.txt"}


def test_a_failure_is_recorded_its_dependants_are_skipped_and_the_rest_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = job("train", "bad", FAIL, lambda: False)
    dependants = [
        job("critic", "bad", "", lambda: False, "train bad"),
        job("plan", "x", "", lambda: False, "critic bad"),
    ]
    runner = Runner([failing, *dependants, *pair(tmp_path, "a")], 1, tmp_path / "sweep")
    runner.run()
    (record,) = [json.loads(line) for line in (tmp_path / "sweep" / "failures.jsonl").read_text().splitlines()]
    assert runner.failures == [record]
    assert (record["job"], record["status"], record["error"]) == ("train bad", 2, "no such file: x")
    assert record["skipped"] == ["critic bad", "plan x"]
    assert set(results(tmp_path)) == {"a.txt"}
    shown = capsys.readouterr().err
    assert "failed train bad: no such file: x" in shown
    assert "skipped critic bad" in shown
    assert "skipped plan x" in shown


def test_a_job_that_leaves_no_output_has_failed(tmp_path: Path) -> None:
    runner = Runner([job("train", "empty", "", lambda: False)], 1, tmp_path / "sweep")
    runner.run()
    assert runner.failures[0]["error"] == "It ended without an error, but its output is not whole."


def test_a_job_done_before_is_kept_though_what_it_needs_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code = f"open({str(data)!r}, 'w').close()"
    train, plan = pair(tmp_path, "a")
    collect = job("collect", "data", code, data.exists)
    jobs = [collect, train, plan]
    Runner(jobs, 1, tmp_path / "first").run()
    data.unlink()
    jobs[1] = job("train", "a", FAIL, train.is_done, "collect data")
    runner = Runner(jobs, 1, tmp_path / "second")
    runner.run()
    assert runner.failures == []
    assert data.exists()


def test_one_sweep_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match=r"Another sweep runs in .* or choose another --name\."):
        Runner(pair(tmp_path, "a"), 1, tmp_path).run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_processes(sweep: "subprocess.Popen[bytes]", tmp_path: Path, number: signal.Signals) -> None:
    pids = recorded(tmp_path)
    sweep.send_signal(number)
    assert sweep.wait(10) != 0
    assert pids
    assert not any(process_start(pid) for pid in pids)


STUBBORN = """
import signal, sys, time
from pathlib import Path
from tests.sweep.conftest import job
from trajectory_adacat.sweep.runner import Runner
code = "import signal, time; signal.signal(15, signal.SIG_IGN); open('started', 'w').close(); time.sleep(99)"
Runner([job("train", "a", code, lambda: False)], 1, Path("sweep")).run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_job_that_does_not_end_is_killed_and_a_second_signal_does_not_wait_for_it(
    tmp_path: Path, is_repeated: bool
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.02)
        (job,) = recorded(tmp_path)
        process.send_signal(signal.SIGTERM)
        if is_repeated:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGINT)
            assert process.wait(2) == -signal.SIGINT
        else:
            assert process.wait(10) == 1  # the traceback of an interruption that no command catches
            assert process_start(job) is None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_job_ignores_what_a_terminal_sends_to_all_processes(tmp_path: Path) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    assert start_python(["-c", code], tmp_path / "log", {}).wait() == 0
    assert (tmp_path / "log").read_text() == "True\n"


def test_the_next_sweep_ends_what_a_killed_one_left_running(sweep: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    sweep.kill()  # the sweep alone
    sweep.wait()
    left = recorded(tmp_path)
    run_pairs(tmp_path)
    assert not any(process_start(pid) for pid in left)
    assert len(results(tmp_path)) == 3


def test_a_sweep_killed_at_random_ends_with_the_same_results(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_pairs(whole)
    moments = random.Random(0)
    for _ in range(3):
        process = start(killed)
        while process.poll() is None and not (killed / "sweep" / RUNNING_FILE).exists():
            time.sleep(0.01)
        time.sleep(moments.uniform(0.1, 0.5))
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert results(killed) != results(whole)
    run_pairs(killed)
    assert results(killed) == results(whole)
    assert len(results(whole)) == 3
    records = [json.loads(line) for line in (killed / "sweep" / "jobs.jsonl").read_text().splitlines()]
    done = [record["job"] for record in records if record["ok"]]
    assert len(done) == len(set(done)), "a job was done twice"
    for lock in killed.rglob("*.lock"):
        raise AssertionError(f"{lock} is left")
