"""Tiny models whose every weight matters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.heads import quantile_edges

MakeModel = Callable[..., GPT]


@pytest.fixture
def make_model() -> MakeModel:
    """Makes a GPT in evaluation mode, weights large enough that each input changes each output it can reach."""

    def make(parameterization: str = "adacat", seed: int = 0, **changes: Any) -> GPT:
        sizes = {"observation_size": 2, "action_size": 1, "n_transitions": 3, "n_layer": 2, "n_head": 2, "n_embd": 4}
        config = GPTConfig(**{**sizes, "n_bins": 5, "parameterization": parameterization, **changes})
        generator = torch.Generator().manual_seed(seed)
        rows = torch.rand(200, config.spec.dimension, generator=generator)
        model = GPT(config, quantile_edges(rows, config.n_bins) if parameterization == "quantile" else None)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.4, generator=generator)
        return model.eval()

    return make
