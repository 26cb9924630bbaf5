"""A tiny training run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import SequenceDataset, Trajectories
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.distributed import World
from trajectory_adacat.training.trainer import Trainer
from trajectory_adacat.transition import TransitionSpec

SPEC = TransitionSpec(2, 1)


def episodes(count: int, length: int, seed: int) -> list[Episode]:
    """Steps that follow from each other: the second observation is the action, the reward the first one."""
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


MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(windows: SequenceDataset) -> MakeTrainer:
    """Makes a trainer that writes to a folder; keywords change the trainer's, the model's and the loss's settings."""
    trajectories = Trajectories.from_episodes(episodes(2, 5, 1), 0.9, None)
    normalizer = MinMaxNormalizer(torch.full((5,), -6.0), torch.full((5,), 6.0))

    def make(
        folder: Path,
        *,
        training: SequenceDataset = windows,
        with_held_out: bool = True,
        form: dict[str, Any] | None = None,
        loss: LossConfig | None = None,
        world: World | None = None,
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
