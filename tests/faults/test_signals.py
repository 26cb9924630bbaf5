"""SIGINT and SIGTERM: a command saves, leaves and says how to go on, wherever they come; a second one ends it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from torch import Tensor

from tests.faults.sweeping import NAME, flags
from tests.scripts.conftest import tiny_table
from tests.scripts.test_plan import Line
from tests.training.conftest import DROPOUT, MakeTrainer, RecordingDataset, checkpoint_bytes, checkpoint_tensors
from trajectory_adacat import console
from trajectory_adacat.checkpoint import find_checkpoint, read_any_description, read_description
from trajectory_adacat.command_line import run_command
from trajectory_adacat.console import dispatch
from trajectory_adacat.critic import trainer as critic_trainer
from trajectory_adacat.datasets import collected
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.density import trainer as density_trainer
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.scripts import sweep
from trajectory_adacat.sweep.jobs import Job
from trajectory_adacat.sweep.runner import start_python
from trajectory_adacat.training.interruption import Interruption, resuming_command, telling_how_to_resume
from trajectory_adacat.training.logger import MetricsLogger, read_metrics
from trajectory_adacat.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
SETTINGS = {"n_steps": 6, "n_saves": 1, "form": DROPOUT}


class Signalling(RecordingDataset):
    """Sends a signal to the process when a batch is asked for."""

    def __init__(self, windows: SequenceDataset, at: int) -> None:
        super().__init__(windows)
        self._at = at

    def batch(self, windows: Tensor) -> Batch:
        if len(self.requested) == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(windows)


def resume(trainer: Trainer, folder: Path) -> Trainer:
    description = read_description(find_checkpoint(folder))
    step = description["step"]
    files = ("model.safetensors", "ema.safetensors", "training.safetensors")
    trainer.load_state(step, *(checkpoint_tensors(folder, step, name) for name in files), description=description)
    return trainer


def without_time(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in read_metrics(folder)]


def run_interrupted(trainer: Trainer, folder: Path) -> int:
    """Train until the signal; return the step that was saved."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match=r"saved step (\d) of 6 in .*step_0000000\1") as raised:
        trainer.train()
    assert raised.value.signal == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return read_description(find_checkpoint(folder))["step"]


@pytest.mark.parametrize("at", [1, 3])
def test_a_training_interrupted_before_a_step_goes_on_with_the_same_bits(
    make_trainer: MakeTrainer,
    windows: SequenceDataset,
    tmp_path: Path,
    at: int,
) -> None:
    make_trainer(tmp_path / "whole", **SETTINGS).train()
    trainer = make_trainer(tmp_path / "parts", training=Signalling(windows, at), **SETTINGS)
    assert run_interrupted(trainer, tmp_path / "parts") == at
    resume(make_trainer(tmp_path / "parts", **SETTINGS), tmp_path / "parts").train()
    assert checkpoint_bytes(tmp_path / "parts", 6) == checkpoint_bytes(tmp_path / "whole", 6)
    assert without_time(tmp_path / "parts") == without_time(tmp_path / "whole")


def test_a_training_interrupted_before_its_first_step_starts_anew(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, training=Signalling(windows, 0), **SETTINGS)
    expected = r"no step was done, so nothing was saved\. Go on with: trajectory-adacat train --seed 3$"
    with pytest.raises(Interrupted, match=expected), telling_how_to_resume("train", ["--seed", "3", "--overwrite"]):
        trainer.train()
    assert not list(tmp_path.glob("step_*"))


@pytest.mark.parametrize("step", [3, 6])
def test_a_training_interrupted_in_an_evaluation_writes_the_line_when_it_goes_on(
    make_trainer: MakeTrainer, tmp_path: Path, step: int
) -> None:
    make_trainer(tmp_path / "whole", **SETTINGS).train()
    trainer = make_trainer(tmp_path / "parts", **SETTINGS)
    assert trainer.held_out is not None
    trainer.held_out = Signalling(trainer.held_out, step - 1)  # type: ignore[assignment]  # a batch of each step
    assert run_interrupted(trainer, tmp_path / "parts") == step
    assert [line["step"] for line in without_time(tmp_path / "parts")] == list(range(1, step))
    resume(make_trainer(tmp_path / "parts", **SETTINGS), tmp_path / "parts").train()
    assert without_time(tmp_path / "parts") == without_time(tmp_path / "whole")
    assert checkpoint_bytes(tmp_path / "parts", 6) == checkpoint_bytes(tmp_path / "whole", 6)
    whole, parts = (read_description(find_checkpoint(tmp_path / name)) for name in ("whole", "parts"))
    assert parts == whole


def test_a_signal_in_a_protected_block_waits_for_its_end() -> None:
    reached = []
    with pytest.raises(Interrupted, match="late"), Interruption("late") as interruption:
        with interruption.held():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(1)
        reached.append(2)
    assert reached == [1]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--dataset", "a b", "--overwrite"], "trajectory-adacat train --dataset 'a b' --resume"),
        (["--overwrite", "true", "--seed", "1"], "trajectory-adacat train --seed 1 --resume"),
        (["--resume=true", "--verbose", "false"], "trajectory-adacat train --verbose false --resume"),
    ],
)
def test_the_command_that_goes_on(given: list[str], expected: str) -> None:
    assert resuming_command("train", given) == expected


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


# -- the other commands ----------------------------------------------------------------------------------------

CRITIC = "--dataset own --hidden_size 8 --batch_size 8 --n_steps 9 --mc_steps 5 --n_saves 1 --log_freq 1"
ENVIRONMENT = "TrajectoryAdacatTests/Signalling-v0"
SEARCH = "--dataset own --horizon 1 --beam_width 2"
PLAN = f"{SEARCH} --environment {ENVIRONMENT} --n_rollouts 3"
COLLECT = "--dataset hopper-random-collected --transitions 50 --output data.hdf5"


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


@pytest.fixture
def trained_model(trained_once: Path, home: Path) -> Path:
    shutil.copytree(trained_once, home / "logs")
    return home / "logs"


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


# -- as a command ----------------------------------------------------------------------------------------------

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


def test_a_signal_during_the_import_of_an_extension_is_an_interruption() -> None:
    """An extension in C++ that a signal interrupts raises an ImportError that the signal's exception caused."""
    with pytest.raises(Interrupted, match="started anew") as raised, Interruption("started anew."):
        try:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Interrupted as interrupted:
                raise ImportError("initialization failed") from interrupted
        except ImportError as error:
            raise InputError("It needs a package that is not installed.") from error
    assert raised.value.signal == signal.SIGTERM


def test_an_error_after_a_signal_is_not_hidden() -> None:
    with pytest.raises(InputError, match="disk is full"), Interruption():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Interrupted:
            raise InputError("The disk is full.") from OSError()
