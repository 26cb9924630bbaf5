"""The training loop that tables, images and audio share, on a normal distribution."""

import math
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trajectory_adacat.checkpoint import load_model, read_tensors
from trajectory_adacat.density.checkpoint import BEST, read_density
from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.objective import DensityObjective, Split
from trajectory_adacat.density.trainer import DensityTrainer
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import BasicRunConfig
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.optimizer import AdamWConfig

DESCRIPTION = {
    "experiment": "normal",
    "train_seed": 0,
    "dataset": {"name": "normal", "sha256": "0"},
    "training": {"width": 1},
}


class Normal(nn.Module):
    """A normal distribution of unknown mean."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))


class NormalObjective(DensityObjective):
    """Fit the mean; the loss draws random numbers, as dropout does."""

    unit = "nats"

    def __init__(self) -> None:
        self.model: Normal = Normal()
        generator = torch.Generator().manual_seed(0)
        self.n_examples = 20
        self.training, self.held_out = (2 + torch.randn(count, generator=generator) for count in (20, 10))
        self.progress: list[float] = []
        self.evaluated: list[Split] = []

    def loss(self, indices: Tensor, progress: float) -> Tensor:
        self.progress.append(progress)
        noisy = self.training[indices] + 0.1 * torch.randn(len(indices))
        return (noisy - self.model.mean).square().mean() / 2

    def negative_log_likelihood(self, model: nn.Module, split: Split) -> float:
        self.evaluated.append(split)
        return float((self.held_out - model.mean).square().mean() / 2)  # type: ignore[operator]


def make(folder: Path, n_saves: int = 2, seed: int = 0, **settings: object) -> DensityTrainer:
    values = {"batch_size": 8, "n_steps": 40, "learning_rate": 0.3, "ema_decay": 0.9, **settings}
    run = BasicRunConfig(seed=seed, log_freq=4, n_saves=n_saves)
    return DensityTrainer(NormalObjective(), build(DensityTrainerConfig, values), run, folder, DESCRIPTION, False)


def objective(trainer: DensityTrainer) -> NormalObjective:
    assert isinstance(trainer.objective, NormalObjective)
    return trainer.objective


def test_training_approaches_the_mean_and_tells_the_loss_its_progress(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    target = objective(trainer).training.mean()
    assert float(objective(trainer).model.mean) == pytest.approx(float(target), abs=0.3)
    assert objective(trainer).progress == [step / 40 for step in range(40)]


def test_the_best_weights_are_those_of_the_lowest_validation_likelihood(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    logged = {line["step"]: line["validation"] for line in read_metrics(tmp_path)}
    assert sorted(logged) == list(range(4, 41, 4))
    assert trainer.best_step == min(logged, key=logged.__getitem__) < 40
    assert trainer.best_nll == min(logged.values())
    assert objective(trainer).negative_log_likelihood(trainer.best_model(), "validation") == trainer.best_nll


def test_the_test_split_is_left_alone_until_it_is_asked_for(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    assert set(objective(trainer).evaluated) == {"validation"}
    trainer.test()
    assert objective(trainer).evaluated.count("test") == 1


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    whole.train()

    first = make(tmp_path / "parts")
    draws = objective(first).loss

    def stop(indices: Tensor, progress: float) -> Tensor:
        if progress >= 30 / 40:
            raise KeyboardInterrupt
        return draws(indices, progress)

    objective(first).loss = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = make(tmp_path / "parts", seed=0)
    torch.manual_seed(99)
    second.resume()
    assert second.step == 20
    second.train()
    assert torch.equal(objective(second).model.mean, objective(whole).model.mean)
    assert torch.equal(second.best_model().mean, whole.best_model().mean)  # type: ignore[arg-type]
    assert (second.best_step, second.best_nll) == (whole.best_step, whole.best_nll)

    assert without_clocks(tmp_path / "parts") == without_clocks(tmp_path / "whole")


def without_clocks(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in read_metrics(folder)]


@pytest.mark.parametrize(
    ("method", "call", "saved"),
    [("loss", 14, 13), ("negative_log_likelihood", 2, 8), ("negative_log_likelihood", 10, 40)],
)
def test_a_signal_saves_the_step_and_the_same_bits_follow(tmp_path: Path, method: str, call: int, saved: int) -> None:
    whole = make(tmp_path / "whole")
    whole.train()
    first = make(tmp_path / "parts", n_saves=1)
    original, calls = getattr(first.objective, method), []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call:
            torch.randn(1)  # a step that is not done draws its random numbers again
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    setattr(first.objective, method, interrupted)
    with pytest.raises(Interrupted, match=rf"saved step {saved} of 40 in .*step_000000{saved:02}"):
        first.train()
    assert ("unlogged" in read_density(tmp_path / "parts")[1]) == (method != "loss")
    second = make(tmp_path / "parts")
    second.resume()
    second.train()
    folder, description = read_density(tmp_path / "parts")
    assert "unlogged" not in description
    assert (description["step"], description["best_step"]) == (40, whole.best_step)
    assert torch.equal(read_tensors(folder, BEST, description)["mean"], whole.best_model().mean)  # type: ignore[arg-type]
    assert not list((tmp_path / "parts").glob(".step_*"))
    again = make(tmp_path / "parts")
    again.resume()
    again.train()
    assert set(objective(again).evaluated) == set()
    assert second.test() == whole.test()
    assert (second.best_step, second.best_nll) == (whole.best_step, whole.best_nll)
    assert torch.equal(objective(second).model.mean, objective(whole).model.mean)
    assert without_clocks(tmp_path / "parts") == without_clocks(tmp_path / "whole")


def test_the_checkpoint_holds_the_best_weights_and_what_was_described(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    folder, description = read_density(tmp_path)
    assert torch.equal(read_tensors(folder, BEST, description)["mean"], trainer.best_model().mean)  # type: ignore[arg-type]
    assert description["experiment"] == "normal"
    assert (description["step"], description["best_step"]) == (40, trainer.best_step)
    assert description["seconds"]["cpu"] > 0
    with pytest.raises(InputError, match="that of a density, not of a model"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        read_density(tmp_path / "other")


def test_without_averaging_the_weights_themselves_are_evaluated(tmp_path: Path) -> None:
    trainer = make(tmp_path, ema_decay=0.0)
    trainer.train()
    last = objective(trainer).negative_log_likelihood(trainer.model, "validation")
    assert read_metrics(tmp_path)[-1]["validation"] == last


def test_a_diverged_training_stops_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    loss = objective(trainer).loss
    objective(trainer).loss = lambda i, p: loss(i, p) * (math.nan if p > 0.5 else 1)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="The loss is nan at step 24"):
        trainer.train()
    assert read_density(tmp_path)[1]["step"] == 20


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"lr_schedule": "constant"}, [1, 1, 1, 1]),
        ({"lr_schedule": "halve", "lr_halve_every": 0.25}, [1, 1 / 2, 1 / 4, 1 / 8]),
        ({"lr_schedule": "cosine"}, [(1 + math.cos(math.pi * p)) / 2 for p in (0, 0.25, 0.5, 0.75)]),
        ({"lr_schedule": "cosine", "lr_end": 0.1, "lr_warmup": 0.5}, [0, 0.5, 1, 0.55]),
    ],
)
def test_learning_rate_schedules(settings: dict[str, object], factors: list[float]) -> None:
    config = build(DensityTrainerConfig, settings)
    assert [config.learning_rate_factor(p) for p in (0, 0.25, 0.5, 0.75)] == pytest.approx(factors)


def test_epochs_count_the_last_partial_batch() -> None:
    config = build(DensityTrainerConfig, {"batch_size": 8, "n_epochs": 2.0})
    assert config.total_steps(20) == 6


def test_every_example_is_seen_once_in_an_epoch(tmp_path: Path) -> None:
    trainer = make(tmp_path, n_steps=None, n_epochs=1.0)
    seen: list[int] = []
    loss = objective(trainer).loss

    def record(indices: Tensor, progress: float) -> Tensor:
        seen.extend(indices.tolist())
        return loss(indices, progress)

    objective(trainer).loss = record  # type: ignore[method-assign]
    trainer.train()
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"n_epochs": -1.0}, {"lr_schedule": "linear"}, {"lr_end": 1.0}, {"ema_decay": 1.0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        build(DensityTrainerConfig, settings)


def test_a_setting_without_effect_is_refused() -> None:
    with pytest.raises(InputError, match="--lr_end has no effect"):
        build(DensityTrainerConfig, {"lr_schedule": "halve", "lr_end": 0.1}, given=["lr_end"])


def test_the_optimizer_is_chosen_by_name() -> None:
    assert type(build(DensityTrainerConfig, {"optimizer": "adamw"}).optimizer) is AdamWConfig
