"""Devices and threads."""

import os

import pytest
import torch

from trajectory_adacat.computing import limit_onednn_cache, use_device, use_threads
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


def test_the_onednn_cache_is_limited_unless_the_user_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "7")  # restored after the test
    limit_onednn_cache()
    assert os.environ[name] == "7"
    del os.environ[name]
    limit_onednn_cache()
    assert os.environ[name] == "16"
