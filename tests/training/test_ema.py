"""EMA against its recursion."""

import torch
from torch import Tensor, nn

from trajectory_adacat.training.ema import make_ema


def ema_tensor(ema: nn.Module, name: str) -> Tensor:
    return ema.state_dict()[f"module.{name}"]


def test_the_ema_follows_the_recursion_and_starts_with_the_first_update() -> None:
    model = nn.Linear(2, 2)
    ema = make_ema(model, 0.9)
    generator = torch.Generator().manual_seed(0)
    expected = None
    for _ in range(6):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 2, generator=generator))
        ema.update_parameters(model)
        new = model.weight.detach().double()
        expected = new if expected is None else 0.9 * expected + 0.1 * new
        torch.testing.assert_close(ema_tensor(ema, "weight").double(), expected, atol=1e-6, rtol=1e-6)


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
