"""A measurement apart gives its value, and says when its process dies."""

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from benchmarks.apart import call_apart


def test_a_value_comes_from_another_process() -> None:
    assert call_apart(divmod, 7, 2) == (3, 1)
    assert call_apart(os.getpid) != os.getpid()


def test_a_process_that_dies_is_not_waited_for() -> None:
    with pytest.raises(BrokenProcessPool):
        call_apart(os._exit, 3)
