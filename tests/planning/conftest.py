import pytest
import torch

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.settings import build


def random_model(seed: int = 0, **changes: object) -> GPT:
    """A tiny model in float64 whose weights are large enough for its predictions to depend on all they see."""
    form = {"observation_size": 3, "action_size": 2, "n_transitions": 4, "n_layer": 2, "n_head": 2, "n_embd": 8}
    model = GPT(build(GPTConfig, {**form, "n_bins": 6, "N": 6, "n_components": 6, **changes})).double().eval()
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.4)
    return model


def some_normalizer(dimension: int) -> MinMaxNormalizer:
    low = torch.linspace(-2.0, 1.0, dimension)
    return MinMaxNormalizer(low, low + torch.linspace(1.0, 3.0, dimension))


@pytest.fixture
def model() -> GPT:
    return random_model()


@pytest.fixture
def normalizer(model: GPT) -> MinMaxNormalizer:
    return some_normalizer(model.spec.dimension)
