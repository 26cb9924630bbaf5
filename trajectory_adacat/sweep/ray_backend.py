"""Run the jobs of a sweep on a Ray cluster: one of `ray start`, or a local one where none runs (docs/cluster.md)."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from trajectory_adacat.sweep.jobs import Job

RETRIES = 3  # of a job whose worker or machine died; a job that fails is not tried again
KEPT_VARIABLES = ("TRAJECTORY_ADACAT_HOME",)  # of the sweep's environment, besides those that it sets
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class RayBackend:
    """A connection to a cluster, which starts jobs.

    All machines see the working folder of the sweep, its logs and its data under the same paths.

    Args:
        threads: CPUs of each job.
        device: torch device of the jobs; each has a GPU for itself unless it is the CPU.
        local_cpus: CPUs of the local cluster that is started where none runs; by default those of the machine.
    """

    def __init__(self, threads: int = 1, device: str = "cpu", local_cpus: int | None = None) -> None:
        if not ray.is_initialized():
            ray.init(num_cpus=local_cpus, include_dashboard=False, log_to_driver=False)
        self._needs = {"CPU": float(threads)} | ({} if device == "cpu" else {"GPU": 1.0})
        n_gpus = int(self._needs.get("GPU", 0.0))
        self._task = ray.remote(num_cpus=threads, num_gpus=n_gpus, max_retries=RETRIES)(run_job)

    @property
    def processes(self) -> int:
        """How many jobs the cluster can run side by side, at least one."""
        has = ray.cluster_resources()
        return max(1, min(int(has.get(name, 0.0) // needed) for name, needed in self._needs.items()))

    def start(self, job: Job, log: Path, environment: Mapping[str, str]) -> "RayProcess":
        """Submit a job, whose output goes to ``log``."""
        log.unlink(missing_ok=True)
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        reference = self._task.remote(job.command, job.prepare, log.resolve(), Path.cwd(), {**kept, **environment})
        return RayProcess(reference)

    def close(self) -> None:
        """Leave the cluster, which ends the sweep's workers; a local cluster ends."""
        ray.shutdown()


class RayProcess:
    """A submitted job, as `subprocess.Popen` shows a process."""

    pid = None  # it is on another machine, and ends with the connection

    def __init__(self, reference: Any) -> None:
        self._reference = reference
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, or None while the job runs or waits."""
        return self._get(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status.

        Raises:
            TimeoutExpired: if the job has not ended by then.
        """
        status = self._get(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("a job on the cluster", timeout or 0.0)
        return status

    def terminate(self) -> None:
        """End the job with its worker; it is not tried again."""
        ray.cancel(self._reference, force=True)

    kill = terminate

    def _get(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            try:
                self.returncode = ray.get(self._reference, timeout=timeout)
            except GetTimeoutError:
                return None
            except RayError:  # cancelled, or its worker died more often than it is tried
                self.returncode = -signal.SIGKILL
        return self.returncode


def run_job(
    command: Sequence[str], prepare: Callable[[], bool], log: Path, folder: Path, environment: Mapping[str, str]
) -> int:
    """Run a job in a worker, and return its exit status.

    ``prepare`` is called here, so that a job whose worker died goes on from its last checkpoint.
    """
    resume = ["--resume"] if prepare() else []
    with log.open("ab") as output:
        return subprocess.run(
            [sys.executable, *command, *resume],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            preexec_fn=_die_with_worker if sys.platform == "linux" else None,
            check=False,
        ).returncode


def _die_with_worker() -> None:
    """Let this process be killed when its worker dies: the job's next attempt must find its folder free."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
