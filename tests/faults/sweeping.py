"""A sweep of tiny real trainings and plans, each job a fork of the sweep's process.

``python -m tests.faults.sweeping FOLDER N_TRAININGS`` runs a training of each seed and a plan of each training. A
further argument, a number of steps, makes the trainings longer and adds a critic and its plan for each. Flags of the
sweep may follow. A fork takes milliseconds where the imports of a new interpreter take seconds; all else is as in the
sweep command.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from itertools import takewhile
from multiprocessing.context import ForkProcess
from pathlib import Path

import gymnasium  # noqa: F401  (imported before the forks, as mujoco is)
import mujoco  # noqa: F401
import torch._dynamo  # noqa: F401  (optimizers import it, which takes seconds)

from tests.scripts.conftest import write_file
from trajectory_adacat.command_line import run_command
from trajectory_adacat.scripts import plan, sweep, train  # noqa: F401
from trajectory_adacat.signals import sigint_ignored
from trajectory_adacat.sweep.jobs import Job

NAME = "many"  # of the sweep
TRAIN: dict[str, object] = {
    "n_layer": 1,
    "n_head": 1,
    "n_embd": 4,
    "n_bins": 4,
    "subsampled_sequence_length": 3,
    "batch_size": 8,
}
TRAIN |= {"n_steps": 4, "n_saves": 2, "log_freq": 1, "environment": "hopper-medium-v2", "holdout_fraction": 0.25}
CRITIC = {"hidden_size": 8, "mc_steps": 2}
PLAN = {"max_episode_length": 2, "horizon": 1, "beam_width": 2, "max_context_transitions": 2}


class Forked:
    """A job in a forked process, with the methods that the runner calls."""

    def __init__(self, process: ForkProcess) -> None:
        self._process = process
        process.start()

    @property
    def pid(self) -> int | None:
        """Id of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        self._process.join(timeout)
        return self._process.exitcode or 0

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


def run_job(command: list[str], log: Path) -> None:
    """Run a job's command in this process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    _, module, *argv = command
    run_command(importlib.import_module(module).main, argv)


def fork_job(job: Job, log: Path, environment: Mapping[str, str]) -> Forked:
    """Start a job as a fork that ignores SIGINT; see `start_process` of the runner."""
    with sigint_ignored():
        return Forked(multiprocessing.get_context("fork").Process(target=run_job, args=(job.resumed_command(), log)))


def assign(settings: Mapping[str, object]) -> list[str]:
    """Return settings as the sweep's flags take them."""
    return [f"{name}={value}" for name, value in settings.items()]


def flags(data: Path, n_trainings: int, n_steps: int | None = None) -> list[str]:
    """Return the flags of the sweep; ``n_steps`` adds critics."""
    words = ["--name", NAME, "--datasets", "own", "--rollouts", "1", "--processes", "2", "--verbose", "false"]
    words += ["--seeds", *map(str, range(n_trainings)), "--train", *assign({"dataset_path": data, **TRAIN})]
    if n_steps is None:
        return [*words, "--plan", *assign(PLAN)]
    longer = assign({"n_steps": n_steps, "n_saves": n_steps // 2})
    return [*words, *longer, "--plan", *assign(PLAN), "scoring=values,critic", "--critic", *assign(CRITIC), *longer]


def main() -> None:
    """Run the sweep in the folder of the command line."""
    folder, rest = Path(sys.argv[1]).absolute(), sys.argv[2:]
    numbers = [int(text) for text in takewhile(str.isdigit, rest)]
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    os.environ |= {"TRAJECTORY_ADACAT_HOME": str(folder / "cache"), "PATH": ""}  # without git: it would take time
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]  # its import would take a second each time
    data = Path("own.hdf5").absolute()
    if not data.exists():
        write_file(data, (9, 8, 7, 6), sizes=(11, 3))
    sweep.start_process = fork_job
    run_command(sweep.main, [*flags(data, *numbers), *rest[len(numbers) :]])


if __name__ == "__main__":
    main()
