"""The training command in several processes."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import find_checkpoint, read_description, read_tensors
from trajectory_adacat.scripts import train
from trajectory_adacat.training.logger import read_metrics

Write = Callable[..., Path]
STATE = ("model.safetensors", "ema.safetensors", "training.safetensors")
UNEVEN = {"batch_size": "7", "learning_rate": "0.01", "warmup_epochs": "0.1", "termination_penalty": "-100"}
DROPOUT = {"attn_pdrop": "0.2", "resid_pdrop": "0.2", "embd_pdrop": "0.2"}
WITHOUT_DROPOUT = dict.fromkeys(DROPOUT, "0")


def launch(flags: list[str], count: int = 2) -> list[str]:
    """Return the command that trains in so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return [*launcher, train.__file__, *flags]


def in_processes(flags: list[str], count: int = 2) -> subprocess.CompletedProcess[str]:
    return subprocess.run(launch(flags, count), capture_output=True, text=True, check=False, timeout=120)


def drawn(random_state: torch.Tensor) -> list[float]:
    generator = torch.Generator()
    generator.set_state(random_state)
    return torch.rand(8, generator=generator).tolist()


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = find_checkpoint(folder)
    return read_tensors(path, name, read_description(path))


@pytest.mark.parametrize(
    ("batch_size", "accumulate"),
    [
        pytest.param(7, 2, id="in parts", marks=pytest.mark.slow),
        pytest.param(7, 9, id="more parts than windows", marks=pytest.mark.slow),
        pytest.param(5, 2, id="a last batch of one window"),
    ],
)
def test_two_processes_train_as_one(
    write_dataset: Write, home: Path, make_flags: Callable[..., list[str]], batch_size: int, accumulate: int
) -> None:
    """Losses, likelihoods and weights, with parts of different sizes and both optimizers.

    An epoch has 21 windows: with batches of five, the fifth step has no window for the second process.
    """
    settings = {**UNEVEN, **WITHOUT_DROPOUT, "optimizer": "muon", "batch_size": str(batch_size)}
    path = write_dataset(8, 8, 8, 8)
    done = in_processes(make_flags(path, exp_name="two", **settings, accumulate=accumulate))
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


@pytest.mark.slow
def test_two_processes_go_on_with_the_same_bits(
    write_dataset: Write, home: Path, make_flags: Callable[..., list[str]]
) -> None:
    """Each with its own dropout, and with nobody but the first one speaking."""
    path, folder = write_dataset(9, 8, 7, 6), home / "logs" / "own" / "run"
    flags = make_flags(path, exp_name="run", verbose="true", **DROPOUT)
    done = in_processes(flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("training windows") == 1
    whole = {name: (find_checkpoint(folder) / name).read_bytes() for name in STATE}
    states = tensors(folder, "training.safetensors")
    assert drawn(states["rng"]) != drawn(states["rng_1"])
    refused = in_processes(flags)
    assert refused.returncode != 0
    assert refused.stderr.count("error: ") == 1
    assert "--resume" in refused.stderr
    shutil.rmtree(folder / "step_00000006")
    resumed = in_processes([*flags, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert {name: (find_checkpoint(folder, 6) / name).read_bytes() for name in STATE} == whole


@pytest.mark.slow
def test_two_processes_that_a_signal_ends_go_on_from_their_last_checkpoint(
    write_dataset: Write, home: Path, make_flags: Callable[..., list[str]]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    settings = {"n_steps": "100", "n_saves": "50", "log_freq": "100", **DROPOUT}
    done = in_processes(make_flags(path, exp_name="whole", **settings))
    assert done.returncode == 0, done.stderr
    flags, folder = make_flags(path, exp_name="parts", **settings), home / "logs" / "own" / "parts"
    with subprocess.Popen(launch(flags), stderr=subprocess.PIPE, text=True) as launcher:
        while not list(folder.glob("step_*")):
            assert launcher.poll() is None
            time.sleep(0.02)
        launcher.send_signal(signal.SIGTERM)
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert "saved step" not in said
    last = read_description(find_checkpoint(folder))["step"]
    assert (last % 2, last < 100) == (0, True)
    resumed = in_processes([*flags, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    whole = find_checkpoint(folder.with_name("whole"), 100)
    assert all((find_checkpoint(folder, 100) / name).read_bytes() == (whole / name).read_bytes() for name in STATE)


@pytest.mark.slow
def test_more_processes_than_windows_are_refused_once(
    write_dataset: Write, home: Path, make_flags: Callable[..., list[str]]
) -> None:
    refused = in_processes(make_flags(write_dataset(9, 8, 7, 6), batch_size=2), 3)
    assert refused.returncode != 0
    assert refused.stderr.count("error: ") == 1
    assert "A batch of 2 sequences cannot be shared by 3 processes" in refused.stderr
    assert not (home / "logs").exists()
