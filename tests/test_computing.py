"""Devices and threads."""

import pytest
import torch

from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.errors import InputError


def test_the_cpu_is_always_available() -> None:
    assert use_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta"])
def test_missing_devices_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"--device {name}"):
        use_device(name)


@pytest.fixture
def threads() -> int:
    return torch.get_num_threads()


def test_use_threads_sets_the_number_of_threads(threads: int) -> None:
    use_threads(2)
    try:
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [0, -1])
def test_thread_counts_below_one_are_refused(count: int, threads: int) -> None:
    with pytest.raises(InputError, match="--threads"):
        use_threads(count)
    assert torch.get_num_threads() == threads
