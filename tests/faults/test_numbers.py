"""Numbers that are not finite: the batch, the checkpoint or the model is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.critic.conftest import make_trainer as make_critic_trainer
from tests.training.conftest import MakeTrainer, checkpoint_bytes
from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_description
from trajectory_adacat.datasets.sequences import Batch
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.trainer import Trainer

make_critic_trainer = pytest.fixture(name="make_critic_trainer")(make_critic_trainer.__wrapped__)  # type: ignore[attr-defined]
SETTINGS: dict[str, Any] = {"n_steps": 8, "n_saves": 8}


def spoil(trainer: Trainer, *steps: int) -> Trainer:
    """Let the objective of some steps be NaN."""
    objective = trainer._objective

    def spoiled(batch: Batch) -> Tensor:
        return objective(batch) * (torch.nan if trainer.step + 1 in steps else 1.0)

    trainer._objective = spoiled  # type: ignore[assignment]
    return trainer


def test_a_bad_batch_is_named_with_its_windows_and_the_last_checkpoint(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = spoil(make_trainer(tmp_path, **SETTINGS), 5)
    with pytest.raises(InputError, match=r"The loss is nan at step 5\. Its batch holds the windows \d+, .*") as raised:
        trainer.train()
    assert f"The last good checkpoint is {tmp_path / 'step_00000004'}" in str(raised.value)
    assert "--skip_bad_batches" in str(raised.value)
    (line,) = [json.loads(line) for line in (tmp_path / "bad_batches.jsonl").read_text().splitlines()]
    assert (line["step"], line["loss"], len(line["windows"])) == (5, "nan", 8)
    assert sorted(line["windows"]) == sorted(trainer._windows(4).tolist())


def test_as_many_bad_batches_are_left_out_as_are_allowed(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = spoil(make_trainer(tmp_path, **SETTINGS, skip_bad_batches=2), 3, 5)
    trainer.train()
    weights = [checkpoint_bytes(tmp_path, step)["model.safetensors"] for step in range(1, 9)]
    assert [weights[i] == weights[i - 1] for i in range(1, 8)] == [False, True, False, True, False, False, False]
    assert read_description(find_checkpoint(tmp_path))["skipped_steps"] == [3, 5]
    assert ["loss" in line for line in read_metrics(tmp_path)] == [True, True, False, True, False, True, True, True]
    with pytest.raises(InputError, match="at step 7"):
        spoil(make_trainer(tmp_path / "more", **SETTINGS, skip_bad_batches=2), 3, 5, 7).train()


def test_a_step_that_is_repeated_after_a_kill_is_recorded_once(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    for _ in range(2):
        spoil(make_trainer(tmp_path, n_steps=6, n_saves=1, skip_bad_batches=2), 3, 5).train()
        shutil.rmtree(find_checkpoint(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "bad_batches.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 5]


def test_batches_left_out_before_count_when_a_training_goes_on(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    settings = {**SETTINGS, "skip_bad_batches": 1}
    spoil(make_trainer(tmp_path, **settings), 2).train()
    trainer = spoil(make_trainer(tmp_path / "again", **settings), 6)
    path = find_checkpoint(tmp_path, 4)
    from trajectory_adacat.checkpoint import read_tensors

    description = read_description(path)
    files = ("model.safetensors", "ema.safetensors", "training.safetensors")
    trainer.load_state(4, *(read_tensors(path, name, description) for name in files), description=description)
    with pytest.raises(InputError, match="at step 6"):
        trainer.train()


def test_a_device_that_is_not_waited_for_names_the_first_bad_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = spoil(make_trainer(tmp_path, n_steps=8, n_saves=1, log_freq=4), 2)
    trainer._checks_each_step = False  # as on a GPU
    with pytest.raises(InputError, match="The loss is nan at step 2"):
        trainer.train()
    assert not list(tmp_path.glob("step_*"))


def test_a_critic_leaves_out_bad_batches(make_critic_trainer: Any, tmp_path: Path) -> None:
    for allowed in (1, 0):
        trainer = make_critic_trainer(tmp_path / str(allowed), skip_bad_batches=allowed)
        select = trainer._training.select

        def spoiled(rows: Tensor, select: Any = select, trainer: Any = trainer) -> Any:
            batch = select(rows)
            if trainer.step == 4:
                batch.rewards[0] = torch.nan
                batch.returns[0] = torch.nan
            return batch

        object.__setattr__(trainer._training, "select", spoiled)
        if allowed:
            trainer.train()
            assert len(list((tmp_path / "1").glob("step_*"))) == 2
        else:
            with pytest.raises(InputError, match=r"at step 5\. Its batch holds the transitions"):
                trainer.train()


def test_a_model_that_gives_nan_while_planning_is_named(trained_once: Path) -> None:
    loaded = load_model(find_checkpoint(trained_once / "own" / "gpt" / "adacat_0"))
    loaded.model.norm.bias.data.fill_(torch.nan)
    search = BeamSearchConfig(0.99, horizon=2, beam_width=2)
    planner = Planner(loaded.model, loaded.normalizer, PlannerConfig(search, WindowConfig("cropped", 3)))
    planner.reset([0])
    with pytest.raises(InputError, match="The model predicts numbers that are not finite"):
        planner.act(torch.zeros(1, 3).numpy())
