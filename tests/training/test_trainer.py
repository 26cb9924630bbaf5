"""Training loop: windows visited, optimizer steps, logs and checkpoints."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.datasets.sequences import SequenceDataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.training.evaluation import evaluation_batches, negative_log_likelihoods
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.objective import Objective

from .conftest import DROPOUT, MakeTrainer, RecordingDataset, checkpoint_bytes, checkpoint_tensors

# -- windows -------------------------------------------------------------------------------------------------


def real_share(dataset: SequenceDataset) -> float:
    """Return the share of the windows' targets that are not padding."""
    mask = dataset.batch(torch.arange(len(dataset))).mask[:, 1:]
    return float(mask.float().mean())


def test_each_epoch_visits_every_window_once_in_a_new_order(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    recorded = RecordingDataset(windows)
    make_trainer(tmp_path, training=recorded, n_steps=6, batch_size=8).train()
    assert [len(batch) for batch in recorded.requested] == [8] * 6
    epochs = [list(itertools.chain(*recorded.requested[i : i + 3])) for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert epochs[0] != epochs[1] != list(range(24))


def test_the_last_batch_of_an_epoch_holds_the_windows_that_are_left(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    recorded = RecordingDataset(windows)
    make_trainer(tmp_path, training=recorded, n_steps=6, batch_size=10).train()
    assert [len(batch) for batch in recorded.requested] == [10, 10, 4] * 2
    for epoch in (recorded.requested[:3], recorded.requested[3:]):
        assert sorted(itertools.chain(*epoch)) == list(range(24))


def test_the_loss_and_gradient_of_a_partial_batch_are_means_over_its_windows(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    """The weights hardly move, so that those after training give the loss of each step."""
    recorded = RecordingDataset(windows)
    settings = {"n_steps": 3, "batch_size": 10, "learning_rate": 1e-30, "lr_decay": False, "grad_norm_clip": 1e9}
    trainer = make_trainer(tmp_path, training=recorded, accumulate=3, **settings)
    trainer.train()
    last = torch.tensor([window for part in recorded.requested[-3:] for window in part])
    assert len(last) == 4
    trainer.model.zero_grad()
    loss = Objective(trainer.model, LossConfig(), "float32", False)(windows.batch(last))
    loss.backward()
    logged = read_metrics(tmp_path)[-1]
    assert logged["loss"] == pytest.approx(float(loss), rel=1e-5)
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in trainer.model.parameters()])
    assert logged["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)


def test_the_batch_size_is_limited_to_the_dataset(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    recorded = RecordingDataset(windows)
    make_trainer(tmp_path, training=recorded, n_steps=2, batch_size=1000).train()
    assert [sorted(batch) for batch in recorded.requested] == [list(range(24))] * 2


# -- steps ---------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, n_steps=60, learning_rate=0.003, lr_decay=False).train()
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert sum(losses[-20:]) / 20 < sum(losses[:5]) / 5 - 0.1


def test_ema_weights_follow_the_recursion(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The decay of the first updates is lower: 2 / 11, 3 / 12, 4 / 13; that of the fourth is the setting."""
    trainer = make_trainer(tmp_path, n_steps=5, n_saves=5, ema_decay=0.35, learning_rate=0.05, lr_decay=False)
    expected = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    for step, decay in enumerate((2 / 11, 3 / 12, 4 / 13, 0.35, 0.35), 1):
        new = checkpoint_tensors(tmp_path, step)
        expected = {name: decay * expected[name] + (1 - decay) * new[name] for name in new}
        average = checkpoint_tensors(tmp_path, step, "ema.safetensors")
        for name, tensor in expected.items():
            torch.testing.assert_close(average[name], tensor, atol=1e-6, rtol=1e-5)


def test_the_learning_rate_schedule_counts_the_windows_of_a_partial_batch(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Batches of 10, 10 and 4 windows: warm-up ends after two epochs' tokens, the cosine after three.

    An epoch's tokens include the padding, those of a batch do not.
    """
    rates = {"learning_rate": 0.5, "warmup_epochs": 2.0, "final_epochs": 3.0}
    trainer = make_trainer(tmp_path, n_steps=12, batch_size=10, **rates)
    trainer.train()
    real = real_share(trainer.training)
    assert 0.8 < real < 1.0
    found = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert found[:6] == pytest.approx([0.5 * real * windows / 48 for windows in (10, 20, 24, 34, 44, 48)])
    assert found[7] == pytest.approx(0.25 * (1 + math.cos(math.pi * (68 * real - 48) / 24)))
    assert found[11] == pytest.approx(0.05)


def test_a_cosine_to_the_end_of_the_training_counts_a_partial_batch(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.5, "warmup_epochs": 0.0, "final_epochs": None}
    make_trainer(tmp_path, n_steps=6, batch_size=10, **rates).train()
    found = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert found[2] == pytest.approx(0.25)
    assert found[5] == pytest.approx(0.05)


def test_without_final_epochs_the_cosine_ends_with_the_training(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.5, "warmup_epochs": 0.0, "final_epochs": None}
    make_trainer(tmp_path, n_steps=8, **rates).train()
    found = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert found[3] == pytest.approx(0.25)
    assert found[7] == pytest.approx(0.05)
    assert found[0] > 0.45


def test_the_learning_rate_can_rise_again(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.5, "warmup_epochs": 0.0, "final_epochs": 1.0}
    trainer = make_trainer(tmp_path, n_steps=6, lr_schedule_end="rise", **rates)
    trainer.train()
    angles = [math.pi * epochs * real_share(trainer.training) for epochs in (1, 2)]
    expected = [max(0.05, 0.25 * (1 + math.cos(angle))) for angle in angles]
    assert [line["learning_rate"] for line in read_metrics(tmp_path)][2::3] == pytest.approx(expected)


def test_the_gradient_norm_is_clipped(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """AdamW normalizes the gradient, except for its epsilon: only a gradient far below epsilon leaves the weights."""
    moved = []
    for name, clip in (("free", 1.0), ("clipped", 1e-14)):
        trainer = make_trainer(tmp_path / name, n_steps=1, grad_norm_clip=clip, weight_decay=0.0, lr_decay=False)
        before = trainer.model.head.weight.detach().clone()
        trainer.train()
        moved.append(float((trainer.model.head.weight.detach() - before).abs().max()))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-8
    norms = [read_metrics(tmp_path / name)[0]["gradient_norm"] for name in ("free", "clipped")]
    assert norms[0] == norms[1] > 1e-3  # the norm before clipping is logged


def test_a_non_finite_loss_stops_training_and_is_not_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=4, n_saves=4)
    with torch.no_grad():
        trainer.model.head.weight[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="nan at step 1"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("step_*")] == []


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("batch_size", "accumulate", "sizes"),
    [
        (8, 3, [3, 3, 2] * 3),
        (9, 6, [2, 2, 2, 1, 1, 1] * 2 + [1] * 6),  # the third batch has six windows
        (5, 9, [1] * 5 * 3),
    ],
)
def test_gradient_accumulation_gives_the_step_of_the_whole_batch(
    make_trainer: MakeTrainer,
    windows: SequenceDataset,
    tmp_path: Path,
    optimizer: str,
    batch_size: int,
    accumulate: int,
    sizes: list[int],
) -> None:
    """Compare in float64. Some windows are padded, which must not change the weights of the micro-batches."""
    windows.tokens = windows.tokens.double()
    settings = {"n_steps": 3, "batch_size": batch_size, "optimizer": optimizer, "learning_rate": 0.01}
    whole = make_trainer(tmp_path / "whole", training=windows, **settings)
    whole.train()
    recorded = RecordingDataset(windows)
    accumulated = make_trainer(tmp_path / "accumulated", training=recorded, accumulate=accumulate, **settings)
    accumulated.train()
    assert [len(batch) for batch in recorded.requested] == sizes
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(accumulated.model.state_dict()[name], tensor, rtol=0, atol=1e-12)
    logged = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "accumulated")]
    assert logged[1] == pytest.approx(logged[0], rel=1e-6)


def test_after_step_is_called_after_each_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=3)
    seen: list[int] = []
    trainer.train(lambda: seen.append(trainer.step))
    assert seen == [1, 2, 3]


def test_evaluation_and_logging_do_not_change_the_weights(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path / "often", form=DROPOUT, log_freq=1).train()
    make_trainer(tmp_path / "never", form=DROPOUT, log_freq=100, with_held_out=False).train()
    assert checkpoint_bytes(tmp_path / "often", 4) == checkpoint_bytes(tmp_path / "never", 4)


def test_the_seed_determines_the_weights(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_trainer(tmp_path / name, seed=seed).train()
    assert checkpoint_bytes(tmp_path / "a", 4) == checkpoint_bytes(tmp_path / "b", 4)
    a, c = (checkpoint_bytes(tmp_path / name, 4)["model.safetensors"] for name in ("a", "c"))
    assert a != c


# -- logs and checkpoints ------------------------------------------------------------------------------------


def test_metrics_hold_the_negative_log_likelihood_of_each_group(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=5, log_freq=2)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5]
    groups = ("observation", "action", "reward", "value", "all")
    expected = {f"{kind}/{group}" for kind in ("train", "held_out", "held_out_ema") for group in groups}
    assert expected | {"loss", "learning_rate", "gradient_norm"} <= lines[-1].keys()
    assert trainer.held_out is not None
    held_out = list(evaluation_batches(trainer.held_out, 8))
    for kind, model in (("held_out", trainer.model), ("held_out_ema", load_model(tmp_path, use_ema=True).model)):
        logged = {group: lines[-1][f"{kind}/{group}"] for group in groups}
        assert logged == pytest.approx(negative_log_likelihoods(model, held_out))
    assert lines[-1]["held_out/all"] != lines[-1]["held_out_ema/all"]


def test_without_held_out_windows_there_are_no_held_out_metrics(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, n_steps=1, with_held_out=False).train()
    assert not [name for name in read_metrics(tmp_path)[0] if name.startswith("held_out")]


def test_a_checkpoint_holds_the_weights_of_its_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=4, n_saves=2)
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_00000002", "step_00000004"]
    loaded = load_model(tmp_path)
    assert loaded.description["step"] == 4
    assert loaded.description["name"] == "test"
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    second, fourth = (checkpoint_tensors(tmp_path, step)["head.weight"] for step in (2, 4))
    assert not torch.equal(second, fourth)


def test_the_loss_settings_are_used(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    losses = []
    for weight in (0.0, 5.0):
        make_trainer(tmp_path / str(weight), n_steps=1, loss=LossConfig(action_weight=weight)).train()
        losses.append(read_metrics(tmp_path / str(weight))[0]["loss"])
    assert losses[0] != losses[1]
