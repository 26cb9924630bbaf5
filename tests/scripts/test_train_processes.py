"""The training command in two processes."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import find_checkpoint, read_description, read_tensors
from trajectory_adacat.scripts import train
from trajectory_adacat.training.logger import read_metrics

Write = Callable[..., Path]
STATE = ("model.safetensors", "ema.safetensors", "training.safetensors")
UNEVEN = {"batch_size": "7", "learning_rate": "0.01", "warmup_epochs": "0.1"}
DROPOUT = {"attn_pdrop": "0.2", "resid_pdrop": "0.2", "embd_pdrop": "0.2"}
WITHOUT_DROPOUT = dict.fromkeys(DROPOUT, "0")


def in_two(flags: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run([*launcher, train.__file__, *flags], capture_output=True, text=True, check=False)


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = find_checkpoint(folder)
    return read_tensors(path, name, read_description(path))


def test_two_processes_train_as_one(write_dataset: Write, home: Path, make_flags: Callable[..., list[str]]) -> None:
    """Losses, likelihoods and weights, with parts of different sizes and both optimizers."""
    settings = {**UNEVEN, **WITHOUT_DROPOUT, "optimizer": "muon"}
    path = write_dataset(9, 8, 7, 6)
    done = in_two(make_flags(path, exp_name="two", **settings, accumulate=2))
    assert done.returncode == 0, done.stderr
    train.main(make_flags(path, exp_name="one", **settings))
    one, two = home / "logs" / "own" / "one", home / "logs" / "own" / "two"
    assert len(read_metrics(two)) == 6
    for ours, theirs in zip(read_metrics(one), read_metrics(two), strict=True):
        timed = ours.pop("seconds_per_step"), theirs.pop("seconds_per_step")
        assert all(seconds > 0 for seconds in timed)
        assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-6)
    for name in STATE[:2]:
        for key, tensor in tensors(one, name).items():
            # AdamW makes steps of its rate out of rounding where a gradient should be 0, as the keys' offsets' is.
            torch.testing.assert_close(tensors(two, name)[key], tensor, rtol=1e-4, atol=2e-5)


def test_two_processes_go_on_with_the_same_bits(
    write_dataset: Write, home: Path, make_flags: Callable[..., list[str]]
) -> None:
    """Each with its own dropout, and with nobody but the first one speaking."""
    path, folder = write_dataset(9, 8, 7, 6), home / "logs" / "own" / "run"
    flags = make_flags(path, exp_name="run", verbose="true", **DROPOUT)
    assert in_two(flags).stdout.count("training windows") == 1
    whole = {name: (find_checkpoint(folder) / name).read_bytes() for name in STATE}
    states = tensors(folder, "training.safetensors")
    assert not torch.equal(states["rng"], states["rng_1"])
    refused = in_two(flags)
    assert refused.returncode != 0
    assert refused.stderr.count("error: ") == 1
    assert "--resume" in refused.stderr
    shutil.rmtree(folder / "step_00000006")
    in_two([*flags, "--resume"])
    assert {name: (find_checkpoint(folder, 6) / name).read_bytes() for name in STATE} == whole
