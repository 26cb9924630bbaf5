"""A small collected dataset, and tiny random models and critics that say they were trained on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import save_checkpoint
from trajectory_adacat.critic.checkpoint import save_critic
from trajectory_adacat.critic.config import CriticForm, NetworkConfig
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.settings import build

COLLECTED = "hopper-medium-collected"
SIZES = {"n_transitions": 3, "n_layer": 1, "n_head": 1, "n_embd": 4}
HEADS = {"adacat": {"n_bins": 4}, "logistic_mixture": {"n_components": 3}}

MakeTraining = Callable[..., Path]


@pytest.fixture(scope="session")
def collected_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the dataset."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAJECTORY_ADACAT_HOME", str(home))
        collect(COLLECTED, 1000, path=collected_path(COLLECTED))
    return home


@pytest.fixture
def make_training(collected_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTraining:
    """Writes a checkpoint, and returns its folder."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(collected_home))

    def make(seed: int = 0, parameterization: str = "adacat", **dataset: object) -> Path:
        torch.manual_seed(seed)
        settings = {"parameterization": parameterization, **HEADS[parameterization], **SIZES}
        model = GPT(build(GPTConfig, {"observation_size": 11, "action_size": 3, **settings}))
        recorded = {
            "name": COLLECTED,
            "label": COLLECTED,
            "sha256": file_sha256(collected_path(COLLECTED)),
            "verified": True,
            "environment": COLLECTED,
            "mean_return": 1.0,
            **dataset,
        }
        description = {
            "parameterization": parameterization,
            "discount": 0.99,
            "train_seed": seed,
            "step": 1,
            "dataset": recorded,
            "training": {"data": {"termination_penalty": -100.0}},
        }
        normalizer = MinMaxNormalizer(torch.full((16,), -5.0), torch.full((16,), 5.0))
        folder = tmp_path / f"training_{seed}_{parameterization}" / "step_00000001"
        save_checkpoint(folder, model, model, normalizer, {"rng": torch.get_rng_state()}, description)
        return folder

    return make


@pytest.fixture
def make_critic(collected_home: Path, tmp_path: Path) -> MakeTraining:
    """Writes a critic that fits `make_training`'s models of the same seed, and returns its folder."""

    def make(seed: int = 0, discount: float = 0.99) -> Path:
        torch.manual_seed(seed)
        form = CriticForm(observation_size=11, action_size=3, networks=NetworkConfig(hidden_size=8))
        dataset = {"name": COLLECTED, "label": COLLECTED, "sha256": file_sha256(collected_path(COLLECTED))}
        description = {
            "discount": discount,
            "train_seed": seed,
            "step": 1,
            "dataset": dataset,
            "training": {"expectile": 0.7},
            "normalizer": {"low": [-5.0] * 16, "high": [5.0] * 16},
        }
        folder = tmp_path / f"critic_{seed}_{discount}" / "step_00000001"
        save_critic(folder, Critic(form), {}, description)
        return folder

    return make
