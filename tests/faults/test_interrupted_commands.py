"""SIGINT and SIGTERM in a command: what is kept, and the command that goes on."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from tests.faults.interrupting import COLLECT, CRITIC, SEARCH
from tests.faults.outputs import without_time
from tests.faults.sweeping import flags
from tests.scripts.conftest import tiny_table
from tests.scripts.test_plan import Line
from trajectory_adacat import console
from trajectory_adacat.checkpoint import find_checkpoint
from trajectory_adacat.command_line import run_command
from trajectory_adacat.console import dispatch
from trajectory_adacat.critic import trainer as critic_trainer
from trajectory_adacat.datasets import collected
from trajectory_adacat.density import trainer as density_trainer
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.scripts import sweep
from trajectory_adacat.sweep.jobs import Job
from trajectory_adacat.sweep.runner import start_python
from trajectory_adacat.training.logger import MetricsLogger, read_metrics

ENVIRONMENT = "TrajectoryAdacatTests/Signalling-v0"
PLAN = f"{SEARCH} --environment {ENVIRONMENT} --n_rollouts 3"


def send_at(step: int, number: signal.Signals) -> type[MetricsLogger]:
    """Return a logger that sends a signal to this process when it has written the line of a step."""

    class Logger(MetricsLogger):
        def log(self, now: int, metrics: Mapping[str, Any]) -> None:
            super().log(now, metrics)
            if now == step:
                os.kill(os.getpid(), number)

    return Logger


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_density_command_saves_and_says_how_to_go_on(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    flags = ["tabular", *tiny_table(home), "--n_saves", "1", "--log_freq", "1", "--n_steps", "9"]
    with monkeypatch.context() as patch:
        patch.setattr(density_trainer, "MetricsLogger", send_at(4, number))
        with pytest.raises(SystemExit) as exit_:
            run_command(dispatch, ["density", *flags])
    assert exit_.value.code == 128 + number
    message = capsys.readouterr().err.strip()
    found = re.fullmatch(r"interrupted: saved step 4 of 9 in (\S+)\. Go on with: (.*)", message)
    assert found, message
    command = shlex.split(found[2])
    assert command == ["trajectory-adacat", "density", *flags, "--resume"]
    dispatch(command[1:])
    folder = (home / found[1]).parent
    assert read_density(folder)[1]["step"] == 9
    assert [line["step"] for line in read_metrics(folder)] == list(range(1, 10))


def command_after(argv: list[str], number: int, says: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a command that gets a signal; return the command of its message."""
    with pytest.raises(SystemExit) as exited:
        console.main(argv)
    assert exited.value.code == 128 + number
    message = capsys.readouterr().err.splitlines()[-1]
    found = re.fullmatch(f"interrupted: {says} Go on with: (.*)", message)
    assert found, message
    program, *command = shlex.split(found[1])
    assert program == "trajectory-adacat"
    return command


def test_an_interrupted_critic_goes_on_with_the_same_bits(
    write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["critic", *CRITIC.split(), "--dataset_path", str(write_dataset(9, 8, 7, 6)), "--exp_name"]
    dispatch([*argv, "whole"])
    with monkeypatch.context() as patch:
        patch.setattr(critic_trainer, "MetricsLogger", send_at(4, signal.SIGTERM))
        says = r"saved step 4 of 9 in \S+step_00000004\."
        command = command_after([*argv, "parts"], signal.SIGTERM, says, capsys)
    dispatch(command)
    whole, parts = (Path("logs", "own", name) for name in ("whole", "parts"))
    for name in ("critic.safetensors", "training.safetensors"):
        assert (find_checkpoint(parts) / name).read_bytes() == (find_checkpoint(whole) / name).read_bytes()
    assert without_time(parts) == without_time(whole)


class Ending(Line):
    """Ends after as many steps as its seed says, and two; seed 2 sends a signal in its last step if there is one."""

    sent: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.seed, self.left = seed, 2 + (seed or 0)
        return super().reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        if self.seed == 2 and self.left == 0 and Ending.sent is not None:
            os.kill(os.getpid(), Ending.sent)
        return *super().step(action)[:2], self.left == 0, False, {}


def test_an_interrupted_plan_keeps_the_rollouts_that_have_ended(
    trained_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def returns(name: str) -> dict[int, float]:
        return {result.rollout_seed: result.return_ for result in load_results([Path("logs", "own", name)]).values()}

    argv = ["plan", *PLAN.split(), "--gpt_loadpath", "gpt/adacat_0", "--exp_name"]
    gymnasium.register(ENVIRONMENT, entry_point=lambda **_: Ending(), max_episode_steps=12)
    try:
        dispatch([*argv, "whole"])
        monkeypatch.setattr(Ending, "sent", signal.SIGINT)
        says = r"the results of rollouts that have ended are kept\."
        command = command_after([*argv, "parts", "--overwrite"], signal.SIGINT, says, capsys)
        kept = Path("logs", "own", "parts", "rollouts.jsonl").read_text()
        assert sorted(returns("parts")) == [0, 1]
        assert command == [*argv, "parts", "--resume"]
        monkeypatch.setattr(Ending, "sent", None)
        dispatch(command)
    finally:
        del gymnasium.registry[ENVIRONMENT]
    assert returns("parts") == pytest.approx(returns("whole"))  # rounding depends on the number of rollouts together
    assert Path("logs", "own", "parts", "rollouts.jsonl").read_text().startswith(kept)


def test_an_interrupted_collection_leaves_nothing_and_starts_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(rows: Iterable[int], **_: object) -> Iterator[int]:
        for row in rows:
            if row == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            yield row

    argv = ["collect", *COLLECT.split(), "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(collected, "tqdm", send)
        says = r"a file is written as a whole, so the collection starts anew\."
        command = command_after(argv, signal.SIGTERM, says, capsys)
    assert not list(Path().iterdir())
    assert command == argv
    dispatch(command)
    assert [path.name for path in Path().iterdir()] == ["data.hdf5"]


def test_an_interrupted_sweep_ends_its_jobs_and_names_its_command(
    write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def start(job: Job, log: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        started.append(start_python(["-c", "import time; time.sleep(99)"], log, environment))
        os.kill(os.getpid(), signal.SIGINT)
        return started[-1]

    monkeypatch.setattr(sweep, "start_process", start)
    argv = ["sweep", *flags(write_dataset(9, 8, 7, 6, sizes=(11, 3)), 1)]
    says = r"the jobs were ended, and what they have saved is kept\."
    assert command_after(argv, signal.SIGINT, says, capsys) == argv
    assert [process.poll() for process in started] == [-signal.SIGTERM]
