"""Learning rate schedule, and parameter groups of the optimizers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trajectory_adacat.training.optimizer import ScheduleEnd, learning_rate_factor

from .conftest import MakeTrainer


def test_the_warm_up_is_linear() -> None:
    assert [learning_rate_factor(n, 100, 1000, "hold") for n in (0, 25, 50, 100)] == [0, 0.25, 0.5, 1.0]


def test_the_decay_is_a_cosine_down_to_a_tenth() -> None:
    assert learning_rate_factor(550, 100, 1000, "hold") == pytest.approx(0.5)
    assert learning_rate_factor(325, 100, 1000, "hold") == pytest.approx(0.5 + math.sqrt(0.125))
    assert learning_rate_factor(950, 100, 1000, "hold") == 0.1
    assert learning_rate_factor(1000, 100, 1000, "hold") == 0.1


@settings(deadline=None)
@given(beyond=st.integers(1000, 10_000_000))
def test_hold_keeps_a_tenth_after_the_decay(beyond: int) -> None:
    assert learning_rate_factor(beyond, 100, 1000, "hold") == 0.1


def test_rise_mirrors_the_decay() -> None:
    assert learning_rate_factor(1050, 100, 1000, "rise") == 0.1
    assert learning_rate_factor(1450, 100, 1000, "rise") == pytest.approx(0.5)
    assert learning_rate_factor(1900, 100, 1000, "rise") == pytest.approx(1.0)


ends: st.SearchStrategy[ScheduleEnd] = st.sampled_from(["hold", "rise"])


@settings(deadline=None)
@given(n=st.integers(0, 10_000), warmup=st.floats(0, 1000), final=st.floats(0, 5000), end=ends)
def test_the_factor_lies_between_0_and_1(n: int, warmup: float, final: float, end: ScheduleEnd) -> None:
    assert 0.0 <= learning_rate_factor(n, warmup, final, end) <= 1.0


@settings(deadline=None)
@given(n=st.integers(100, 999))
def test_the_factor_never_rises_during_the_decay(n: int) -> None:
    assert learning_rate_factor(n, 100, 1000, "hold") >= learning_rate_factor(n + 1, 100, 1000, "hold")


# -- parameter groups ----------------------------------------------------------------------------------------


def after_one_step(
    make_trainer: MakeTrainer, folder: Path, **settings: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights before and after one step, from random weights: decay does not show on zeros."""
    trainer = make_trainer(folder, n_steps=1, lr_decay=False, **settings)
    generator = torch.Generator().manual_seed(0)
    for parameter in trainer.model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    return before, {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("parameterization", ["adacat", "uniform"])
@pytest.mark.parametrize("form", [{}, {"embedding": "per_dimension", "positions": "rotary"}], ids=str)
def test_weight_decay_acts_on_the_weights_of_linear_maps_only(
    make_trainer: MakeTrainer, tmp_path: Path, optimizer: str, parameterization: str, form: dict[str, str]
) -> None:
    """The scalar embedding is a linear map, the token embedding is not.

    Steps with and without decay differ by learning rate * decay * weight, for decayed weights only.
    """
    rates = {"learning_rate": 0.01, "muon_learning_rate": 0.01}
    common = {"optimizer": optimizer, "form": {"parameterization": parameterization, **form}, **rates}
    before, without = after_one_step(make_trainer, tmp_path / "a", weight_decay=0.0, **common)
    _, with_decay = after_one_step(make_trainer, tmp_path / "b", weight_decay=1.0, **common)
    decayed = {name for name in before if not torch.equal(with_decay[name], without[name])}
    matrices = {f"blocks.0.{layer}.weight" for layer in ("attention.qkv", "attention.project", "expand", "contract")}
    scalar_embedding = {"embedding.weight"} if parameterization == "adacat" else set()
    assert decayed == {"head.weight", *matrices, *scalar_embedding}
    for name in decayed:
        torch.testing.assert_close(without[name] - with_decay[name], 0.01 * before[name], atol=1e-6, rtol=1e-4)


def test_muon_trains_the_block_matrices_and_adamw_the_rest(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Each optimizer has its own learning rate."""
    common = {"optimizer": "muon", "weight_decay": 0.0}
    before, after = after_one_step(make_trainer, tmp_path / "a", learning_rate=1e-3, muon_learning_rate=1e-30, **common)
    unmoved = {name for name in before if torch.equal(before[name], after[name])}
    assert unmoved == {
        f"blocks.0.{layer}.weight" for layer in ("attention.qkv", "attention.project", "expand", "contract")
    }


def test_muon_differs_from_adamw(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    _, muon = after_one_step(make_trainer, tmp_path / "a", optimizer="muon")
    _, adamw = after_one_step(make_trainer, tmp_path / "b", optimizer="adamw")
    assert not torch.equal(muon["blocks.0.expand.weight"], adamw["blocks.0.expand.weight"])
    assert torch.equal(muon["head.weight"], adamw["head.weight"])


def test_adamw_is_fused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=1, optimizer="adamw")
    with torch.profiler.profile() as profile:
        trainer.train()
    assert {event.key: event.count for event in profile.key_averages()}["aten::_fused_adamw_"] == 2  # parameter groups
