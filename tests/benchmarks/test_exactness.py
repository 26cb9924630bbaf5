"""The benchmark of exactness runs at a small size, and refuses what it cannot compare."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import exactness
from trajectory_adacat.checkpoint import save_checkpoint
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.settings import build

SMALL = {"n_transitions": 2, "n_layer": 1, "n_head": 1, "n_embd": 4, "n_bins": 4}


def save(folder: Path, environment: str | None = "hopper-medium-v2", **changes: Any) -> list[str]:
    """Flags of a tiny random model of hopper."""
    model = GPT(build(GPTConfig, {"observation_size": 11, "action_size": 3, **SMALL, **changes}))
    normalizer = MinMaxNormalizer(torch.full((16,), -1.0), torch.full((16,), 1.0))
    description = {"dataset": {"environment": environment}}
    save_checkpoint(folder / "step_00000001", model, model, normalizer, {"rng": torch.get_rng_state()}, description)
    return ["--checkpoint", str(folder), "--horizon", "2", "--beam_width", "2"]


def test_each_comparison_has_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exactness.main([*save(tmp_path), "--steps", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert any("actions that differ after rounding to float32 | 0 of 3" in line for line in lines)
    assert any(line.startswith("| bfloat16 and float32, cached | largest relative") for line in lines)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--steps", "1"], "--steps 1"),
        (["--steps", "0"], "--steps"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_senseless_flags_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        exactness.main([*save(tmp_path), *flags])
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "named"), [({"parameterization": "uniform"}, "is of uniform"), ({"environment": None}, "collected")]
)
def test_a_checkpoint_that_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"--checkpoint .*{named}"):
        exactness.main(save(tmp_path, **changes))
