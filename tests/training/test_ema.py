"""The moving average against its recursion."""

import torch
from torch import Tensor, nn

from trajectory_adacat.training.ema import make_average


def averaged(average: nn.Module, name: str) -> Tensor:
    return average.state_dict()[f"module.{name}"]


def test_the_average_is_that_of_the_recursion_and_begins_with_the_first_update() -> None:
    model = nn.Linear(2, 2)
    average = make_average(model, 0.9)
    generator = torch.Generator().manual_seed(0)
    expected = None
    for _ in range(6):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 2, generator=generator))
        average.update_parameters(model)
        new = model.weight.detach().double()
        expected = new if expected is None else 0.9 * expected + 0.1 * new
        torch.testing.assert_close(averaged(average, "weight").double(), expected, atol=1e-6, rtol=1e-6)


def test_the_model_is_not_touched_and_the_average_is_a_copy() -> None:
    model = nn.Linear(2, 2)
    average = make_average(model, 0.5)
    average.update_parameters(model)
    before = model.weight.detach().clone()
    with torch.no_grad():
        averaged(average, "weight").zero_()
    assert torch.equal(model.weight, before)


def test_buffers_follow_the_model() -> None:
    model = nn.BatchNorm1d(2)
    average = make_average(model, 0.9)
    assert model.running_mean is not None
    model.running_mean.fill_(3.0)
    average.update_parameters(model)
    assert averaged(average, "running_mean").tolist() == [3.0, 3.0]


def test_all_parameters_are_averaged_in_one_call() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
    average = make_average(model, 0.9)
    average.update_parameters(model)
    with torch.profiler.profile() as profile:
        average.update_parameters(model)
    assert {event.key: event.count for event in profile.key_averages()}["aten::_foreach_lerp_"] == 1
