"""The training loop: what it visits, what it logs and saves, and that a resumed run is the same bits."""

import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_description, read_tensors
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.distributed import World
from trajectory_adacat.training.evaluation import evaluation_batches, likelihoods
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
STATE = ("model.safetensors", "ema.safetensors", "training.safetensors")
DROPOUT = {"embd_pdrop": 0.2, "attn_pdrop": 0.2, "resid_pdrop": 0.2}


def state(folder: Path, step: int) -> dict[str, bytes]:
    return {name: (find_checkpoint(folder, step) / name).read_bytes() for name in STATE}


def weights(folder: Path, step: int, name: str = "model.safetensors") -> dict[str, Tensor]:
    path = find_checkpoint(folder, step)
    return read_tensors(path, name, read_description(path))


def resume(trainer: Trainer, folder: Path, step: int) -> Trainer:
    trainer.load_state(step, *(weights(folder, step, name) for name in STATE))
    return trainer


class Recorded:
    """Windows that remember which of them were asked for."""

    def __init__(self, windows: SequenceDataset) -> None:
        self._windows = windows
        self.asked: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, windows: Tensor) -> Batch:
        self.asked.append(windows.tolist())
        return self._windows.batch(windows)


# -- resuming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("form", [{}, DROPOUT, {"parameterization": "uniform"}], ids=str)
def test_a_resumed_run_is_the_same_bits(
    make_trainer: MakeTrainer, tmp_path: Path, optimizer: str, form: dict[str, Any]
) -> None:
    """Over the end of an epoch: three steps make one."""
    settings = {"n_steps": 8, "n_saves": 2, "optimizer": optimizer, "form": form, "learning_rate": 0.01}
    make_trainer(tmp_path / "whole", **settings).train()
    first = make_trainer(tmp_path / "parts", **settings)
    first.train()
    torch.manual_seed(99)  # another process has other numbers
    torch.rand(3)
    resume(make_trainer(tmp_path / "second", **settings), tmp_path / "parts", 4).train()
    assert state(tmp_path / "second", 8) == state(tmp_path / "whole", 8)
    assert state(tmp_path / "whole", 8) != state(tmp_path / "whole", 4)


def test_a_resumed_run_logs_the_same_numbers(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    settings = {"n_steps": 6, "n_saves": 2, "form": DROPOUT}
    make_trainer(tmp_path, **settings).train()
    timed = "seconds_per_step"
    whole = [{k: v for k, v in line.items() if k != timed} for line in read_metrics(tmp_path)]
    make_again = resume(make_trainer(tmp_path / "again", **settings), tmp_path, 3)
    make_again.train()
    again = [{k: v for k, v in line.items() if k != timed} for line in read_metrics(tmp_path / "again")]
    assert again == whole[3:]


def test_dropout_is_part_of_what_is_resumed(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The comparison above sees it: other random numbers give other weights."""
    settings = {"n_steps": 2, "n_saves": 2, "form": DROPOUT}
    make_trainer(tmp_path / "whole", **settings).train()
    other = resume(make_trainer(tmp_path / "other", **settings), tmp_path / "whole", 1)
    torch.manual_seed(99)
    other.train()
    assert state(tmp_path / "other", 2) != state(tmp_path / "whole", 2)


def test_evaluation_and_logging_do_not_change_the_training(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path / "often", form=DROPOUT, log_freq=1).train()
    make_trainer(tmp_path / "never", form=DROPOUT, log_freq=100, with_held_out=False).train()
    assert state(tmp_path / "often", 4) == state(tmp_path / "never", 4)


def test_a_seed_gives_the_same_bits_and_another_one_others(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_trainer(tmp_path / name, seed=seed).train()
    assert state(tmp_path / "a", 4) == state(tmp_path / "b", 4)
    assert state(tmp_path / "a", 4)["model.safetensors"] != state(tmp_path / "c", 4)["model.safetensors"]


def test_a_run_that_has_ended_has_nothing_left_to_do(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    resume(make_trainer(tmp_path), tmp_path, 4).train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_state_of_another_shape_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    with pytest.raises(InputError, match="--resume"):
        resume(make_trainer(tmp_path / "other", form={"n_embd": 4}), tmp_path, 4)


# -- what is visited -----------------------------------------------------------------------------------------


def test_an_epoch_visits_each_window_once_and_the_next_in_another_order(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    recorded = Recorded(windows)
    make_trainer(tmp_path, training=recorded, n_steps=6, batch_size=8).train()
    assert [len(batch) for batch in recorded.asked] == [8] * 6
    epochs = [list(itertools.chain(*recorded.asked[i : i + 3])) for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert epochs[0] != epochs[1] != list(range(24))


def test_a_batch_is_no_larger_than_the_dataset(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    recorded = Recorded(windows)
    make_trainer(tmp_path, training=recorded, n_steps=2, batch_size=1000).train()
    assert [sorted(batch) for batch in recorded.asked] == [list(range(24))] * 2


# -- steps ---------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, n_steps=60, learning_rate=0.01, lr_decay=False).train()
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert sum(losses[-20:]) / 20 < sum(losses[:5]) / 5 - 0.1


def test_the_average_follows_its_recursion(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, n_steps=5, n_saves=5, ema_decay=0.7, learning_rate=0.05, lr_decay=False).train()
    expected = weights(tmp_path, 1)
    for step in range(1, 6):
        if step > 1:
            expected = {name: 0.7 * expected[name] + 0.3 * new for name, new in weights(tmp_path, step).items()}
        average = weights(tmp_path, step, "ema.safetensors")
        for name, tensor in expected.items():
            torch.testing.assert_close(average[name], tensor, atol=1e-6, rtol=1e-5)


def test_the_rate_follows_the_tokens_of_epochs(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Three steps make an epoch: a warm-up of two epochs and an end at four."""
    rates = {"learning_rate": 0.5, "warmup_epochs": 2.0, "final_epochs": 4.0}
    make_trainer(tmp_path, n_steps=14, **rates).train()
    found = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert found[:6] == pytest.approx([0.5 * (step + 1) / 6 for step in range(6)])
    assert found[8] == pytest.approx(0.25)  # half way down the cosine
    assert found[11:] == pytest.approx([0.05] * 3)


def test_without_an_epoch_named_the_cosine_ends_with_the_training(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.5, "warmup_epochs": 0.0, "final_epochs": None}
    make_trainer(tmp_path, n_steps=8, **rates).train()
    found = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert found[3] == pytest.approx(0.25)
    assert found[7] == pytest.approx(0.05)
    assert found[0] > 0.45


def test_the_rate_may_rise_again(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.5, "warmup_epochs": 0.0, "final_epochs": 1.0}
    make_trainer(tmp_path, n_steps=6, lr_schedule_end="rise", **rates).train()
    assert [line["learning_rate"] for line in read_metrics(tmp_path)][2::3] == pytest.approx([0.05, 0.5])


def test_the_gradient_is_clipped_to_its_norm(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """AdamW divides by the gradient's size, but for its epsilon: under a tiny gradient, nothing moves."""
    moved = []
    for name, clip in (("free", 1.0), ("clipped", 1e-14)):
        trainer = make_trainer(tmp_path / name, n_steps=1, grad_norm_clip=clip, weight_decay=0.0, lr_decay=False)
        before = trainer.model.head.weight.detach().clone()
        trainer.train()
        moved.append(float((trainer.model.head.weight.detach() - before).abs().max()))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-8
    norms = [read_metrics(tmp_path / name)[0]["gradient_norm"] for name in ("free", "clipped")]
    assert norms[0] == norms[1] > 1e-3  # what is logged is the norm before it is clipped


def test_a_loss_that_is_not_finite_ends_the_training_and_is_not_saved(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, n_steps=4, n_saves=4)
    with torch.no_grad():
        trainer.model.head.weight[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="nan at step 1"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("step_*")] == []


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("batch_size", "accumulate", "parts"), [(8, 3, [3, 3, 2]), (9, 6, [2, 2, 2, 1, 1, 1]), (5, 9, [1] * 5)]
)
def test_a_step_in_parts_is_the_step(
    make_trainer: MakeTrainer,
    windows: SequenceDataset,
    tmp_path: Path,
    optimizer: str,
    batch_size: int,
    accumulate: int,
    parts: list[int],
) -> None:
    """In float64, so that nothing but rounding differs; some windows are padded, which must not shift the weights."""
    windows.tokens = windows.tokens.double()
    settings = {"n_steps": 3, "batch_size": batch_size, "optimizer": optimizer, "learning_rate": 0.01}
    whole = make_trainer(tmp_path / "whole", training=windows, **settings)
    whole.train()
    recorded = Recorded(windows)
    in_parts = make_trainer(tmp_path / "parts", training=recorded, accumulate=accumulate, **settings)
    in_parts.train()
    assert [len(part) for part in recorded.asked] == parts * 3
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(in_parts.model.state_dict()[name], tensor, rtol=0, atol=1e-12)
    logged = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "parts")]
    assert logged[1] == pytest.approx(logged[0], rel=1e-6)


def test_after_each_step_the_caller_is_told(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=3)
    seen: list[int] = []
    trainer.train(lambda: seen.append(trainer.step))
    assert seen == [1, 2, 3]


# -- several processes (see also test_distributed.py) --------------------------------------------------------


def test_other_processes_than_the_first_leave_nothing(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two processes; the messages between them are left out."""
    monkeypatch.setattr(World, "add_up", lambda self, tensors: None)
    monkeypatch.setattr(World, "gather", lambda self, value: [value.clone() for _ in range(self.size)])
    monkeypatch.setattr(World, "together", lambda self: nullcontext())
    make_trainer(tmp_path / "second", world=World(1, 2), n_steps=2).train()
    assert not (tmp_path / "second").exists()
    make_trainer(tmp_path / "first", world=World(0, 2), n_steps=2).train()
    assert find_checkpoint(tmp_path / "first", 2).exists()


def first_numbers(random_state: Tensor) -> list[float]:
    generator = torch.Generator()
    generator.set_state(random_state)
    return torch.rand(8, generator=generator).tolist()


def test_each_process_draws_random_numbers_of_its_own(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    drawn = {}
    for seed, rank in itertools.product((0, 1), range(4)):
        make_trainer(tmp_path, seed=seed, world=World(rank, 4))
        drawn[seed, rank] = tuple(first_numbers(torch.get_rng_state()))
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[1, 0] == tuple(first_numbers(torch.Generator().manual_seed(1).get_state()))


def test_a_process_that_is_new_to_a_resumed_training_does_not_repeat_its_beginning(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    make_trainer(tmp_path, n_saves=4).train()
    make_trainer(tmp_path / "second", world=World(1, 2))
    drawn = [first_numbers(torch.get_rng_state())]
    for step in (2, 3):
        torch.manual_seed(99)
        resume(make_trainer(tmp_path / "second", world=World(1, 2)), tmp_path, step)
        drawn.append(first_numbers(torch.get_rng_state()))
        torch.rand(step)
        resume(make_trainer(tmp_path / "second", world=World(1, 2)), tmp_path, step)
        assert first_numbers(torch.get_rng_state()) == drawn[-1]
    assert len(set(map(tuple, drawn))) == 3


def test_there_must_be_a_window_for_each_process(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, world=World(0, 8))
    with pytest.raises(InputError, match=r"8 sequences.*9 processes"):
        make_trainer(tmp_path, world=World(0, 9))


# -- logs and checkpoints ------------------------------------------------------------------------------------


def test_metrics_hold_the_likelihoods_of_each_group(make_trainer: MakeTrainer, tmp_path: Path) -> None:
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
        assert logged == pytest.approx(likelihoods(model, held_out))
    assert lines[-1]["held_out/all"] != lines[-1]["held_out_ema/all"]


def test_without_held_out_windows_there_are_no_held_out_metrics(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, n_steps=1, with_held_out=False).train()
    assert not [name for name in read_metrics(tmp_path)[0] if name.startswith("held_out")]


def test_likelihoods_do_not_depend_on_how_windows_are_batched(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    model = make_trainer(tmp_path, form=DROPOUT).model.train()
    found = [likelihoods(model, list(evaluation_batches(windows, size))) for size in (5, 24)]
    assert found[0] == pytest.approx(found[1])


def test_likelihoods_are_those_of_each_real_token_in_evaluation(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    model = make_trainer(tmp_path).model.eval()
    batch = windows.batch(torch.arange(24))
    log_prob = model(batch.tokens[:, :-1]).log_prob(batch.tokens[:, 1:]).detach()[batch.mask[:, 1:]]
    assert likelihoods(model, [batch])["all"] == pytest.approx(-float(log_prob.double().mean()))


@pytest.mark.parametrize(("n_windows", "expected"), [(24, list(range(24))), (1, [0])])
def test_all_windows_are_evaluated_where_they_are_few(
    windows: SequenceDataset, n_windows: int, expected: list[int]
) -> None:
    recorded = Recorded(windows)
    recorded._windows._starts = windows._starts[:n_windows]
    list(evaluation_batches(recorded, 7))  # type: ignore[arg-type]
    assert list(itertools.chain(*recorded.asked)) == expected


@pytest.mark.parametrize(
    ("n_steps", "n_saves", "expected"), [(9, 3, {3, 6, 9}), (10, 3, {3, 6, 10}), (2, 5, {1, 2}), (7, 1, {7})]
)
def test_checkpoints_are_evenly_spaced_and_the_last_is_at_the_end(
    n_steps: int, n_saves: int, expected: set[int]
) -> None:
    assert RunConfig(n_saves=n_saves).saved_steps(n_steps) == expected


def test_a_checkpoint_holds_the_weights_of_its_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=4, n_saves=2)
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_00000002", "step_00000004"]
    loaded = load_model(tmp_path)
    assert loaded.description["step"] == 4
    assert loaded.description["name"] == "test"
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert not torch.equal(weights(tmp_path, 2)["head.weight"], weights(tmp_path, 4)["head.weight"])


def test_an_interrupted_run_keeps_its_checkpoints(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    class Interrupted(Recorded):
        def batch(self, windows: Tensor) -> Batch:
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().batch(windows)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, training=Interrupted(windows), n_steps=8, n_saves=4).train()
    resume(make_trainer(tmp_path, n_steps=8, n_saves=4), tmp_path, 2).train()
    make_trainer(tmp_path / "whole", n_steps=8, n_saves=4).train()
    assert state(tmp_path, 8) == state(tmp_path / "whole", 8)
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 9))


def test_the_loss_settings_are_those_given(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    losses = []
    for weight in (0.0, 5.0):
        make_trainer(tmp_path / str(weight), n_steps=1, loss=LossConfig(action_weight=weight)).train()
        losses.append(read_metrics(tmp_path / str(weight))[0]["loss"])
    assert losses[0] != losses[1]


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_steps", 0),
        ("n_steps", -3),
        ("batch_size", 0),
        ("accumulate", 0),
        ("precision", "float16"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("muon_learning_rate", -1.0),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("grad_norm_clip", 0.0),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", float("inf")),
        ("final_epochs", -1.0),
        ("final_epochs", float("nan")),
        ("ema_decay", 1.0),
        ("ema_decay", float("nan")),
        ("log_freq", 0),
        ("n_saves", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("optimizer", "sgd"),
        ("lr_schedule_end", "fall"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        values = {"n_steps": 1, "optimizer": "muon", name: value}
        build(TrainerConfig, values), build(RunConfig, values)
