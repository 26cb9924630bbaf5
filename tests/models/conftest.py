"""Tiny models whose every weight matters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.settings import build

MakeModel = Callable[..., GPT]


@pytest.fixture
def make_model() -> MakeModel:
    """Makes a GPT in evaluation mode, weights large enough that each input changes each output it can reach."""

    def make(parameterization: str = "adacat", seed: int = 0, **changes: Any) -> GPT:
        sizes = {"observation_size": 2, "action_size": 1, "n_transitions": 3, "n_layer": 2, "n_head": 2, "n_embd": 4}
        bins = {"n_bins": 5, "N": 5, "n_components": 5}
        config = build(GPTConfig, {**sizes, **bins, "parameterization": parameterization, **changes})
        generator = torch.Generator().manual_seed(seed)
        rows = torch.rand(200, config.spec.dimension, generator=generator)
        model = GPT(config).fit_statistics(rows)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.4, generator=generator)
        return model.eval()

    return make
