"""SIGINT and SIGTERM in a training: it saves and goes on with the same bits; what an interruption does."""

import os
import signal
import sys
from pathlib import Path

import pytest
from torch import Tensor

from tests.faults.outputs import without_time
from tests.training.conftest import DROPOUT, MakeTrainer, RecordingDataset, checkpoint_bytes, checkpoint_tensors
from trajectory_adacat.checkpoint import find_checkpoint, read_description
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.training.interruption import Interruption, resuming_command, telling_how_to_resume
from trajectory_adacat.training.trainer import Trainer

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


@pytest.mark.parametrize("step", [3, 6])
def test_a_kill_after_the_line_that_a_signal_delayed_does_not_double_it(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    make_trainer(tmp_path / "whole", **SETTINGS).train()
    folder = tmp_path / "parts"
    trainer = make_trainer(folder, **SETTINGS)
    assert trainer.held_out is not None
    trainer.held_out = Signalling(trainer.held_out, step - 1)  # type: ignore[assignment]
    run_interrupted(trainer, folder)
    killed = resume(make_trainer(folder, **SETTINGS), folder)
    monkeypatch.setattr(killed, "save", lambda **_: sys.exit("killed"))
    with pytest.raises(SystemExit, match="killed"):
        killed.train()
    assert without_time(folder)[-1]["step"] == step
    resume(make_trainer(folder, **SETTINGS), folder).train()
    assert without_time(folder) == without_time(tmp_path / "whole")


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
