"""Run jobs side by side, each started when what it needs is done: as processes, or as another backend starts them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trajectory_adacat.files import append_line, write_atomically
from trajectory_adacat.signals import sigint_ignored
from trajectory_adacat.sweep.display import Display
from trajectory_adacat.sweep.jobs import Job, by_priority, dependants, find_done
from trajectory_adacat.training.interruption import Interruption
from trajectory_adacat.training.lock import locked, process_start

POLL_SECONDS = 0.1
GRACE_SECONDS = 4.0  # between SIGTERM and SIGKILL
ERROR_CHARACTERS = 2000  # of a job's output kept as its error
ENDED = "the jobs were ended, and what they have saved is kept."  # the message of an interruption
JOBS_FILE, FAILURES_FILE, RUNNING_FILE = "jobs.jsonl", "failures.jsonl", "running.json"


class Process(Protocol):
    """What the runner asks of a started job; `subprocess.Popen` has it. A job on another machine has no pid."""

    @property
    def pid(self) -> int | None: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Start = Callable[[Job, Path, Mapping[str, str]], Process]  # of a job, with its log and its environment's variables


def start_process(job: Job, log: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a job as a process of this machine."""
    return start_python(job.resumed_command(), log, environment)


@dataclass(frozen=True)
class Running:
    """A job that was started."""

    job: Job
    process: Process
    started: float
    log: Path


class Runner:
    """Run the jobs that are not done.

    Args:
        jobs: each after those it needs.
        processes: number of processes side by side.
        folder: where the logs and records of the jobs go; created if needed.
        threads: of each process.
        display: what shows the progress.
        start: starts a job.

    Attributes:
        failures: records of the jobs that failed, each with the names of the jobs skipped because they need it.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        processes: int,
        folder: Path,
        threads: int = 1,
        display: Display | None = None,
        start: Start = start_process,
    ) -> None:
        self.failures: list[dict[str, Any]] = []
        self._jobs, self._processes, self._folder = jobs, processes, folder
        self._environment = {"OMP_NUM_THREADS": str(threads)}
        self._start_job = start
        self._display = display or Display(jobs, processes)
        self._running: list[Running] = []
        self._ended: set[str] = set()  # failed or skipped
        self._interruption = Interruption(ENDED)

    def run(self) -> None:
        """Run until nothing is left that can run. A signal or an error ends the processes.

        Raises:
            InputError: if another process holds the lock of the folder.
            Interrupted: after SIGINT and SIGTERM.
        """
        with ExitStack() as stack:
            stack.enter_context(self._interruption)
            stack.enter_context(locked(self._folder, "sweep", "--name"))
            end_left_over(self._folder / RUNNING_FILE)
            (self._folder / FAILURES_FILE).unlink(missing_ok=True)
            done = find_done(self._jobs)
            self._display.begin(done)
            stack.callback(self._display.close)
            stack.callback(lambda: end_processes([running.process for running in self._running]))
            while self._start_ready(done) or self._running:
                time.sleep(POLL_SECONDS)
                for running in [running for running in self._running if running.process.poll() is not None]:
                    self._end(running, done)
                self._display.update([running.job for running in self._running])

    def _start_ready(self, done: set[str]) -> bool:
        """Start jobs while there are free processes; return whether any was ready.

        A job that is done already needs no process: what it needs may have been made anew, and be the same as before.
        """
        unavailable = done | self._ended | {running.job.name for running in self._running}
        ready = [job for job in self._jobs if job.name not in unavailable and done.issuperset(job.needs)]
        starting = by_priority(ready)[: self._processes - len(self._running)]
        for job in starting:
            if job.is_done():
                done.add(job.name)
                self._display.found(job)
            else:
                self._start(job)
        return bool(starting)

    def _start(self, job: Job) -> None:
        log = self._folder / "logs" / f"{re.sub(r'[^A-Za-z0-9_.=+-]+', '-', job.name)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._interruption.held():  # no process that is not among those to end
            process = self._start_job(job, log, self._environment)
            self._running.append(Running(job, process, time.time(), log))
            self._record_running()
        self._display.started(job)

    def _end(self, running: Running, done: set[str]) -> None:
        job, status = running.job, running.process.returncode
        self._running.remove(running)
        self._record_running()
        seconds = time.time() - running.started
        error = self._error(running)
        record = {"job": job.name, "kind": job.kind, "status": status, "seconds": round(seconds, 1)}
        append_line(self._folder / JOBS_FILE, {**record, "ended": time.strftime("%Y-%m-%d %H:%M:%S"), "ok": not error})
        if error is None:
            done.add(job.name)
        else:
            self._fail(running, error)
        self._display.ended(job, seconds, error)

    def _error(self, running: Running) -> str | None:
        """Return why a job failed, or None if its output is there."""
        if running.process.returncode == 0:
            return None if running.job.is_done() else "It ended without an error, but its output is not whole."
        log = running.log.read_text(encoding="utf-8", errors="replace") if running.log.exists() else ""
        text = log[-ERROR_CHARACTERS:].strip()
        return text or f"It ended with status {running.process.returncode} and printed nothing."

    def _fail(self, running: Running, error: str) -> None:
        job = running.job
        skipped = [name for name in dependants(job.name, self._jobs) if name not in self._ended]
        record = {
            "job": job.name,
            "status": running.process.returncode,
            "error": error,
            "command": [sys.executable, *job.command],
            "log": str(running.log),
            "skipped": skipped,
        }
        append_line(self._folder / FAILURES_FILE, record)
        self.failures.append(record)
        self._ended |= {job.name, *skipped}
        self._display.skipped(skipped)

    def _record_running(self) -> None:
        """Write which processes run, so that a later call can end those of a killed one."""
        pids = [running.process.pid for running in self._running]
        text = json.dumps([{"pid": pid, "start": process_start(pid)} for pid in pids if pid is not None])
        write_atomically(self._folder / RUNNING_FILE, text)


def start_python(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a Python interpreter that writes all that it prints to a file.

    It ignores SIGINT: a terminal's Ctrl-C would reach it before the caller's SIGTERM, as two signals, and a second one
    ends a training without saving.
    """
    with log.open("wb") as output, sigint_ignored():
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )


def end_processes(processes: Collection[Process]) -> None:
    """End processes: by SIGTERM, and by SIGKILL after a grace period."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(GRACE_SECONDS)


def end_left_over(path: Path) -> None:
    """Kill the processes that a killed sweep has left running, by the file in which it recorded them."""
    try:
        recorded = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    for process in recorded:
        pid, start = process["pid"], process["start"]
        while start is not None and process_start(pid) == start:  # a pid alone may be another process's by now
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
    path.unlink()
