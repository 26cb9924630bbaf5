"""SIGINT and SIGTERM to a process: it leaves within five seconds; a second one ends it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.interrupting import COLLECT, CRITIC, SEARCH
from tests.faults.sweeping import NAME, flags
from tests.scripts.conftest import tiny_table
from trajectory_adacat.checkpoint import find_checkpoint, read_any_description
from trajectory_adacat.console import dispatch
from trajectory_adacat.errors import Interrupted
from trajectory_adacat.training.logger import read_metrics

ROOT = Path(__file__).parents[2]
CONSOLE = "from trajectory_adacat.console import main; main()"
# The second signal must end a process that is stuck in saving.
STUCK = "import time; from trajectory_adacat.{0} import trainer; trainer.{1} = lambda *_, **__: time.sleep(99)\n"
COMMANDS = {
    "train": STUCK.format("training", "save_checkpoint"),
    "density": STUCK.format("density", "write_checkpoint"),
}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(
    tmp_path: Path, write_dataset: Callable[..., Path], make_flags: Callable[..., list[str]]
) -> "Iterator[Start]":
    """Start a long training in a process, and wait for its first steps."""
    many = {"n_steps": 100_000, "n_saves": 1, "log_freq": 10}
    flags = {"train": make_flags(write_dataset(9, 8, 7, 6), **many)}
    flags["density"] = ["tabular", *tiny_table(tmp_path), *(f"--{name}={value}" for name, value in many.items())]
    started = []

    def start(name: str, code: str = "") -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code + CONSOLE, name, *flags[name]]
        started.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True))
        while not list(tmp_path.rglob("metrics.jsonl")) or not read_metrics(
            next(tmp_path.rglob("metrics.jsonl")).parent
        ):
            assert started[-1].poll() is None
            time.sleep(0.02)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("train", signal.SIGTERM),
        pytest.param("train", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("density", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("density", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_training_command_leaves_within_five_seconds_and_says_how_to_go_on(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals
) -> None:
    process = start(name)
    process.send_signal(number)
    assert process.wait(5) == 128 + number
    (message,) = process.communicate()[1].splitlines()
    found = re.fullmatch(r"interrupted: saved step (\d+) of 100000 in (\S+)\. Go on with: (.*)", message)
    assert found, message
    assert read_any_description(tmp_path / found[2])["step"] == int(found[1])
    command = shlex.split(found[3])
    assert command[:2] == ["trajectory-adacat", name]
    monkeypatch.chdir(tmp_path)
    folder, saved = (tmp_path / found[2]).parent, int(found[1])
    threading.Thread(target=send_once_logged, args=(folder, saved, number), daemon=True).start()
    with pytest.raises(Interrupted, match="saved step"):
        dispatch(command[1:])
    assert read_any_description(find_checkpoint(folder))["step"] > saved


def send_once_logged(folder: Path, step: int, number: signal.Signals) -> None:
    """Send a signal to this process when a training has written the line of a later step."""
    while read_metrics(folder)[-1]["step"] <= step:
        time.sleep(0.02)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("name", ["train", pytest.param("density", marks=pytest.mark.slow)])
def test_a_second_signal_ends_a_training_that_is_stuck(start: Start, name: str) -> None:
    process = start(name, COMMANDS[name])
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT


# Each creates a file once it is at work; a number of seconds for which it is stuck after the first signal comes first.
AT_WORK = """
import time
from pathlib import Path

import gymnasium
from tests.scripts.test_plan import Line
from trajectory_adacat.critic import trainer
from trajectory_adacat.scripts import collect

class Endless(Line):
    def step(self, action):
        Path("at_work").touch()
        return super().step(action)

    def close(self):  # the first is made for its time limit alone
        if Path("at_work").exists():
            time.sleep(STUCK)

class Logger(trainer.MetricsLogger):
    def log(self, step, metrics):
        super().log(step, metrics)
        Path("at_work").touch()

def make(args, made=collect.make):
    Path("at_work").touch()
    try:
        return made(args)
    finally:
        time.sleep(STUCK)

def save(self, saved=trainer.CriticTrainer.save):
    time.sleep(STUCK)
    return saved(self)

gymnasium.register("Endless-v0", entry_point=Endless)
trainer.MetricsLogger, trainer.CriticTrainer.save, collect.make = Logger, save, make
"""
LONG = {
    "critic": [*CRITIC.split(), "--n_steps", "100000", "--dataset_path"],
    "plan": [*SEARCH.split(), "--environment", "Endless-v0", "--max_episode_length", "100000"],
    "collect": [*COLLECT.split(), "--transitions", "100000"],
}


@contextmanager
def at_work(name: str, data: Path, stuck: int = 0) -> "Iterator[subprocess.Popen[str]]":
    """Start a long command, and wait until it is at work."""
    argv = [name, *LONG[name], *([str(data)] if name == "critic" else [])]
    command = [sys.executable, "-c", f"STUCK = {stuck}\n{AT_WORK}{CONSOLE}", *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not Path("at_work").exists():
                assert process.poll() is None
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", LONG)
def test_a_command_leaves_within_five_seconds(
    trained_model: Path, write_dataset: Callable[..., Path], name: str, number: signal.Signals
) -> None:
    with at_work(name, write_dataset(9, 8, 7, 6)) as process:
        process.send_signal(number)
        assert process.wait(5) == 128 + number
        printed = process.communicate()[1]
    assert f"Go on with: trajectory-adacat {name} " in printed.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_second_signal_ends_a_command_that_is_stuck(
    trained_model: Path, write_dataset: Callable[..., Path], name: str
) -> None:
    with at_work(name, write_dataset(9, 8, 7, 6), stuck=99) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == -signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize(("number", "is_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interrupted_sweep_lets_its_jobs_save(tmp_path: Path, number: signal.Signals, is_group: bool) -> None:
    """A terminal sends SIGINT to all processes of the group, the jobs too."""
    folder, sizes = tmp_path / "sweep", (1, 100_000)
    with (tmp_path / "printed").open("wb") as log:
        command = [sys.executable, "-m", "tests.faults.sweeping", str(folder), *map(str, sizes)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        trainings = [folder / "logs" / "own" / NAME / path for path in ("gpt/adacat_0", "critic/iql_0")]
        while not all((path / "metrics.jsonl").exists() and read_metrics(path) for path in trainings):
            assert process.poll() is None, (tmp_path / "printed").read_text()
            time.sleep(0.05)
        os.killpg(process.pid, number) if is_group else process.send_signal(number)
        assert process.wait(30) == 128 + number  # jobs that do not end are killed after four seconds
        given = shlex.join(["trajectory-adacat", "sweep", *flags(folder / "own.hdf5", *sizes)])
        expected = f"interrupted: the jobs were ended, and what they have saved is kept. Go on with: {given}"
        assert (tmp_path / "printed").read_text().splitlines()[-1] == expected
        logs = list((folder / "logs" / "sweeps" / NAME / "logs").iterdir())
        assert len(logs) == 2
        for log in logs:
            found = re.search(r"interrupted: saved step (\d+) of 100000 in (\S+)\. Go on", log.read_text())
            assert found, log.read_text()
            assert (folder / found[2] / "training.safetensors").exists()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # nothing of the group runs any more
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
