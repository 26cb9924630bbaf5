"""Training loss: precision and compilation."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig, sequence_loss
from trajectory_adacat.settings import build
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.objective import Objective, TrainingPrecision

from .conftest import MakeTrainer, resume

PARAMETERIZATIONS = ["adacat", "uniform"]


def make_model(parameterization: str = "adacat", positions: str = "learned") -> GPT:
    sizes = {"n_transitions": 3, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_bins": 4}
    without_dropout = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    torch.manual_seed(0)
    form = {"parameterization": parameterization, "positions": positions}
    return GPT(build(GPTConfig, {"observation_size": 2, "action_size": 1, **sizes, **without_dropout, **form}))


@pytest.fixture
def batch() -> Batch:
    tokens = torch.rand(8, 15, generator=torch.Generator().manual_seed(1))
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool))


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and differentiate as ``torch.compile`` does, without the C++ compiler, which takes a minute."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


def loss_and_gradients(model: GPT, batch: Batch, precision: TrainingPrecision, compiled: bool = False) -> list[Tensor]:
    model.zero_grad()
    loss = Objective(model, LossConfig(), precision, compiled)(batch)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


def gradient_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the relative distance of the gradients, in the Euclidean norm."""
    ours, theirs = (torch.cat([tensor.flatten() for tensor in tensors[1:]]) for tensors in (found, expected))
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_in_float32_the_objective_is_the_sequence_loss(batch: Batch, parameterization: str) -> None:
    model = make_model(parameterization)
    losses = model.head.loss(model(batch.tokens[:, :-1]), batch.tokens[:, 1:])
    expected = sequence_loss(losses, batch.mask, model.spec, LossConfig())
    assert torch.equal(loss_and_gradients(model, batch, "float32")[0], expected.detach())


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_bfloat16_gradients_are_close_and_stored_in_float32(
    batch: Batch, parameterization: str, positions: str
) -> None:
    model = make_model(parameterization, positions)
    expected, found = (loss_and_gradients(model, batch, precision) for precision in ("float32", "bfloat16"))
    assert {tensor.dtype for tensor in found} == {torch.float32}
    assert 0 < gradient_error(found, expected) < 0.02
    assert float(found[0]) == pytest.approx(float(expected[0]), abs=2e-3)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_only_the_blocks_use_bfloat16(batch: Batch, parameterization: str) -> None:
    """If the blocks add nothing to the residual stream, the loss is that of float32."""
    model = make_model(parameterization)
    for block in model.blocks:
        for layer in ("attention.project", "contract"):
            nn.init.zeros_(block.get_submodule(layer).get_parameter("weight"))
    expected, found = (loss_and_gradients(model, batch, precision) for precision in ("float32", "bfloat16"))
    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_compiling_keeps_loss_and_gradients(batch: Batch, quick_compiler: None, precision: TrainingPrecision) -> None:
    model = make_model()
    expected, found = (loss_and_gradients(model, batch, precision, compiled) for compiled in (False, True))
    assert gradient_error(found, expected) < (1e-5 if precision == "float32" else 0.01)
    assert float(found[0]) == pytest.approx(float(expected[0]), abs=1e-5 if precision == "float32" else 1e-3)


def test_the_compiled_function_is_called(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def compile_nothing(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def counted(tokens: Tensor) -> Tensor:
            compiled.append(tokens)
            return function(tokens)

        return counted

    monkeypatch.setattr(torch, "compile", compile_nothing)
    loss_and_gradients(make_model(), batch, "float32", compiled=True)
    assert len(compiled) == 1
    loss_and_gradients(make_model(), batch, "float32", compiled=False)
    assert len(compiled) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_compiled_training_resumes_and_saves_plain_checkpoints(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path, quick_compiler: None, dropout: float
) -> None:
    form = {"embd_pdrop": dropout, "attn_pdrop": dropout, "resid_pdrop": dropout}
    settings = {"n_steps": 4, "n_saves": 2, "form": form, "accumulate": 3}
    plain = make_trainer(tmp_path / "plain", **settings)
    plain.train()
    whole = make_trainer(tmp_path / "whole", compile=True, **settings)
    whole.train()
    loaded = load_model(tmp_path / "whole", use_ema=True).model.state_dict()
    assert loaded.keys() == plain.model.state_dict().keys()
    if dropout == 0.0:
        for name, tensor in plain.ema_model.state_dict().items():
            torch.testing.assert_close(loaded[name], tensor, rtol=1e-4, atol=1e-5)
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole")]
    resume(make_trainer(tmp_path / "again", compile=True, **settings), tmp_path / "whole", 2).train()
    assert [line["loss"] for line in read_metrics(tmp_path / "again")] == losses[2:]
