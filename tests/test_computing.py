"""Devices and threads."""

import pytest
import torch

from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.errors import InputError


def test_the_cpu_is_always_there() -> None:
    assert use_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"--device {name}"):
        use_device(name)


@pytest.fixture
def threads() -> int:
    return torch.get_num_threads()


def test_the_number_of_threads_is_set(threads: int) -> None:
    use_threads(2)
    try:
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [0, -1])
def test_numbers_of_threads_below_one_are_refused(count: int, threads: int) -> None:
    with pytest.raises(InputError, match="--threads"):
        use_threads(count)
    assert torch.get_num_threads() == threads
