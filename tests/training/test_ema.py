"""EMA against its recursion."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trajectory_adacat.training.ema import make_ema, warmed_decay


def ema_tensor(ema: nn.Module, name: str) -> Tensor:
    return ema.state_dict()[f"module.{name}"]


def random_updates(ema: AveragedModel, model: nn.Linear, count: int) -> list[Tensor]:
    """Update ``ema`` with random weights of ``model`` ``count`` times; return the weights in float64, first the old."""
    generator = torch.Generator().manual_seed(0)
    weights = [model.weight.detach().double()]
    for _ in range(count):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 2, generator=generator))
        ema.update_parameters(model)
        weights.append(model.weight.detach().double())
    return weights


@pytest.mark.parametrize("decay", [0.3, 0.995])
def test_the_ema_is_that_of_the_released_code(decay: float) -> None:
    """From the initial weights on, with decay min(decay, (1 + n) / (10 + n)) in update n: 0.3 from the third on."""
    model = nn.Linear(2, 2)
    ema = make_ema(model, decay)
    expected, *weights = random_updates(ema, model, 6)
    for n, new in enumerate(weights, 1):
        factor = min(decay, (1 + n) / (10 + n))
        expected = factor * expected + (1 - factor) * new
    torch.testing.assert_close(ema_tensor(ema, "weight").double(), expected, atol=1e-6, rtol=1e-6)


def test_the_decay_rises_to_its_value_and_stays() -> None:
    assert [warmed_decay(0.995, n) for n in (1, 2, 8)] == [2 / 11, 3 / 12, 9 / 18]
    assert warmed_decay(0.995, 1788) < 0.995
    assert {warmed_decay(0.995, n) for n in (1790, 10**6)} == {0.995}


def test_the_random_initial_weights_are_soon_forgotten() -> None:
    """Two averages from different initial weights agree after few updates with the same weights."""
    averages = []
    for scale in (0.0, 100.0):
        model = nn.Linear(2, 2)
        nn.init.constant_(model.weight, scale)
        ema = make_ema(model, 0.995)
        random_updates(ema, model, 20)
        averages.append(ema_tensor(ema, "weight"))
    torch.testing.assert_close(averages[0], averages[1], atol=1e-3, rtol=0)


def test_the_ema_is_a_copy_and_does_not_change_the_model() -> None:
    model = nn.Linear(2, 2)
    ema = make_ema(model, 0.5)
    ema.update_parameters(model)
    before = model.weight.detach().clone()
    with torch.no_grad():
        ema_tensor(ema, "weight").zero_()
    assert torch.equal(model.weight, before)


def test_buffers_are_copied_from_the_model() -> None:
    model = nn.BatchNorm1d(2)
    ema = make_ema(model, 0.9)
    assert model.running_mean is not None
    model.running_mean.fill_(3.0)
    ema.update_parameters(model)
    assert ema_tensor(ema, "running_mean").tolist() == [3.0, 3.0]


def test_an_update_is_one_fused_call() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
    ema = make_ema(model, 0.9)
    ema.update_parameters(model)
    with torch.profiler.profile() as profile:
        ema.update_parameters(model)
    assert {event.key: event.count for event in profile.key_averages()}["aten::_foreach_lerp_"] == 1
