"""Jobs on a local Ray cluster of two workers, one of which is killed."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trajectory_adacat.sweep.jobs import Job
from trajectory_adacat.sweep.runner import Runner

from .conftest import FAIL, TRAIN, job, pair, results

pytest.importorskip("ray", reason="ray is not installed: pip install 'trajectory-adacat[ray]'")

from trajectory_adacat.sweep.ray_backend import RayBackend

NOTE_WORKER = """
import os, sys
from pathlib import Path
Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
with Path(sys.argv[1], "workers").open("a") as file:
    file.write(f"{os.getppid()}\\n")
"""


@pytest.fixture(scope="module")
def backend() -> Iterator[RayBackend]:
    made = RayBackend(local_cpus=2)
    yield made
    made.close()


def noted_pair(root: Path, name: str) -> list[Job]:
    """A training, which notes the worker of each attempt, and its plan."""
    train, plan = pair(root, name, 8, 0.1)
    _, _, *arguments = train.command
    noted = Job(train.name, "train", ("-c", NOTE_WORKER + TRAIN, *arguments), train.is_done, prepare=train.prepare)
    return [noted, plan]


def kill_worker_of(folder: Path, killed: list[int]) -> None:
    """Kill the worker of a training after its third step."""
    while not (folder / "step_003").exists():
        time.sleep(0.01)
    pid = int((folder / "workers").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def test_a_job_whose_worker_is_killed_goes_on_from_its_last_checkpoint(backend: RayBackend, tmp_path: Path) -> None:
    assert backend.processes == 2
    jobs = [found for name in "abc" for found in noted_pair(tmp_path, name)]
    killed: list[int] = []
    killer = threading.Thread(target=kill_worker_of, args=(tmp_path / "models" / "a", killed), daemon=True)
    killer.start()
    runner = Runner(jobs, backend.processes, tmp_path / "sweep", start=backend.start)
    runner.run()
    killer.join(10)
    assert runner.failures == []
    workers = [int(line) for line in (tmp_path / "models" / "a" / "workers").read_text().split()]
    assert workers[0] == killed[0]
    assert len(workers) == 2  # the training asserts that its second attempt resumes
    assert workers[1] != workers[0]
    lines = [json.loads(line) for line in (tmp_path / "sweep" / "jobs.jsonl").read_text().splitlines()]
    assert sorted(line["job"] for line in lines) == sorted(found.name for found in jobs)
    local = [found for name in "abc" for found in pair(tmp_path / "local", name, 8)]
    Runner(local, 1, tmp_path / "local" / "sweep").run()
    assert results(tmp_path) == results(tmp_path / "local")


def test_a_job_that_fails_is_not_tried_again(backend: RayBackend, tmp_path: Path) -> None:
    runner = Runner([job("train", "bad", FAIL, lambda: False)], 2, tmp_path / "sweep", start=backend.start)
    runner.run()
    assert [(failure["status"], failure["error"]) for failure in runner.failures] == [(2, "no such file: x")]
