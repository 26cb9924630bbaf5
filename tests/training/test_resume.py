"""Resuming from a checkpoint is bit-exact."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.logger import read_metrics

from .conftest import DROPOUT, MakeTrainer, RecordingDataset, checkpoint_bytes, resume


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("form", [{}, DROPOUT, {"parameterization": "uniform"}], ids=str)
@pytest.mark.parametrize("batch_size", [8, 10])
def test_resuming_is_bit_exact(
    make_trainer: MakeTrainer, tmp_path: Path, optimizer: str, form: dict[str, Any], batch_size: int
) -> None:
    """The resumed run starts inside the second epoch: an epoch has three steps, the last with 8 or with 4 windows."""
    form_settings = {"optimizer": optimizer, "form": form, "batch_size": batch_size}
    settings = {"n_steps": 8, "n_saves": 2, "learning_rate": 0.01, **form_settings}
    make_trainer(tmp_path / "whole", **settings).train()
    first = make_trainer(tmp_path / "parts", **settings)
    first.train()
    torch.manual_seed(99)  # a new process has another random state
    torch.rand(3)
    resume(make_trainer(tmp_path / "second", **settings), tmp_path / "parts", 4).train()
    assert checkpoint_bytes(tmp_path / "second", 8) == checkpoint_bytes(tmp_path / "whole", 8)
    assert checkpoint_bytes(tmp_path / "whole", 8) != checkpoint_bytes(tmp_path / "whole", 4)


def test_a_resumed_run_logs_the_same_metrics(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    settings = {"n_steps": 6, "n_saves": 2, "form": DROPOUT}
    make_trainer(tmp_path, **settings).train()
    timed = "seconds_per_step"
    whole = [{k: v for k, v in line.items() if k != timed} for line in read_metrics(tmp_path)]
    resume(make_trainer(tmp_path / "again", **settings), tmp_path, 3).train()
    again = [{k: v for k, v in line.items() if k != timed} for line in read_metrics(tmp_path / "again")]
    assert again == whole[3:]


def test_resuming_restores_the_random_state_of_dropout(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Replacing the restored random state changes the weights, so the bit-exact test covers it."""
    settings = {"n_steps": 2, "n_saves": 2, "form": DROPOUT}
    make_trainer(tmp_path / "whole", **settings).train()
    other = resume(make_trainer(tmp_path / "other", **settings), tmp_path / "whole", 1)
    torch.manual_seed(99)
    other.train()
    assert checkpoint_bytes(tmp_path / "other", 2) != checkpoint_bytes(tmp_path / "whole", 2)


def test_resuming_a_finished_run_does_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    resume(make_trainer(tmp_path), tmp_path, 4).train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    with pytest.raises(InputError, match="--resume"):
        resume(make_trainer(tmp_path / "other", form={"n_embd": 4}), tmp_path, 4)


def test_an_interrupted_run_can_be_resumed_from_its_last_checkpoint(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    class Interrupted(RecordingDataset):
        def batch(self, windows: Tensor) -> Batch:
            if len(self.requested) == 3:
                raise KeyboardInterrupt
            return super().batch(windows)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, training=Interrupted(windows), n_steps=8, n_saves=4).train()
    resume(make_trainer(tmp_path, n_steps=8, n_saves=4), tmp_path, 2).train()
    make_trainer(tmp_path / "whole", n_steps=8, n_saves=4).train()
    assert checkpoint_bytes(tmp_path, 8) == checkpoint_bytes(tmp_path / "whole", 8)
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 9))


def test_annealed_smoothing_resumes_at_its_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    form = {"smooth_start": 0.5, "smooth_coeff": 0.001, "smooth_fraction": 1.0}
    settings = {"n_steps": 4, "n_saves": 2, "form": form}
    make_trainer(tmp_path / "whole", **settings).train()
    resume(make_trainer(tmp_path / "second", **settings), tmp_path / "whole", 2).train()
    assert checkpoint_bytes(tmp_path / "second", 4) == checkpoint_bytes(tmp_path / "whole", 4)
    constant = {"n_steps": 4, "n_saves": 2, "form": {"smooth_coeff": 0.001}}
    make_trainer(tmp_path / "constant", **constant).train()
    assert checkpoint_bytes(tmp_path / "constant", 4) != checkpoint_bytes(tmp_path / "whole", 4)
