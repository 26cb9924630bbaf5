"""A tiny training run, and helpers to compare checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trajectory_adacat.checkpoint import find_checkpoint, read_description, read_tensors
from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset, Trajectories
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.distributed import SINGLE_PROCESS, World
from trajectory_adacat.training.trainer import Trainer
from trajectory_adacat.transition import TransitionSpec

SPEC = TransitionSpec(2, 1)
DROPOUT = {"embd_pdrop": 0.2, "attn_pdrop": 0.2, "resid_pdrop": 0.2}
CHECKPOINT_FILES = ("model.safetensors", "ema.safetensors", "training.safetensors")
MakeTrainer = Callable[..., Trainer]


def episodes(count: int, length: int, seed: int) -> list[Episode]:
    """Return episodes whose action is the second observation and whose reward is the first."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        seen = generator.normal(size=(length, 2)).cumsum(0).astype(np.float32)
        made.append(Episode(seen, seen[:, 1:], seen[:, 0], False, True, seen[-1]))
    return made


@pytest.fixture
def windows() -> SequenceDataset:
    """24 windows of three transitions."""
    trajectories = Trajectories.from_episodes(episodes(4, 7, 0), 0.9, None)
    return SequenceDataset(trajectories, MinMaxNormalizer.fit(trajectories.transitions), SPEC, 3)


@pytest.fixture
def make_trainer(windows: SequenceDataset) -> MakeTrainer:
    """Return a function that makes a trainer for a folder; keywords override settings of trainer, model and loss."""
    trajectories = Trajectories.from_episodes(episodes(2, 5, 1), 0.9, None)
    normalizer = MinMaxNormalizer(torch.full((5,), -6.0), torch.full((5,), 6.0))

    def make(
        folder: Path,
        *,
        training: SequenceDataset = windows,
        with_held_out: bool = True,
        form: dict[str, Any] | None = None,
        loss: LossConfig | None = None,
        world: World = SINGLE_PROCESS,
        **changes: Any,
    ) -> Trainer:
        sizes = {"n_transitions": 3, "n_layer": 1, "n_head": 1, "n_embd": 8, "n_bins": 4}
        without_dropout = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
        torch.manual_seed(0)
        observed = {"observation_size": 2, "action_size": 1, "N": 4}
        model = GPT(build(GPTConfig, {**observed, **sizes, **without_dropout, **(form or {})}))
        model = model.to(training.tokens.dtype)
        held_out = SequenceDataset(trajectories, normalizer, SPEC, 3) if with_held_out else None
        values = {"n_steps": 4, "batch_size": 8, "n_saves": 1, "log_freq": 1, **changes}
        configs = (loss or LossConfig(), build(TrainerConfig, values), build(RunConfig, values))
        about = {"name": "test"}
        return Trainer(model, training, held_out, normalizer, *configs, folder, about, verbose=False, world=world)

    return make


class RecordingDataset:
    """A dataset that records the window indices of each requested batch."""

    def __init__(self, windows: SequenceDataset) -> None:
        self._windows = windows
        self.requested: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, windows: Tensor) -> Batch:
        self.requested.append(windows.tolist())
        return self._windows.batch(windows)


def checkpoint_bytes(folder: Path, step: int) -> dict[str, bytes]:
    return {name: (find_checkpoint(folder, step) / name).read_bytes() for name in CHECKPOINT_FILES}


def checkpoint_tensors(folder: Path, step: int, name: str = "model.safetensors") -> dict[str, Tensor]:
    path = find_checkpoint(folder, step)
    return read_tensors(path, name, read_description(path))


def resume(trainer: Trainer, folder: Path, step: int) -> Trainer:
    trainer.load_state(step, *(checkpoint_tensors(folder, step, name) for name in CHECKPOINT_FILES))
    return trainer
