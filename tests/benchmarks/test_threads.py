"""The benchmark of threads and processes at a small size."""

import multiprocessing
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from benchmarks import threads
from trajectory_adacat.errors import InputError

TASK = "training steps, preset cpu"


@pytest.mark.slow
def test_a_task_gives_a_line_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    threads.main(["--tasks", TASK, "--seconds", "0.01"])
    *_, line = capsys.readouterr().out.splitlines()
    task, first, *others = line.strip("| ").split(" | ")
    assert task == TASK
    assert first.endswith("(1.00)")
    assert all(float(cell.split(" ")[0]) > 0 for cell in others)
    assert len(others) == 2
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_not_waited_for() -> None:
    def kill_one() -> None:
        while len(children := multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        children[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(BrokenProcessPool):
        threads.throughput(TASK, 2, 1, 0.01)
    killer.join()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("flags", [["--tasks", "swimming"], ["--seconds", "0"]])
def test_invalid_flags_are_refused(flags: list[str]) -> None:
    with pytest.raises(InputError, match="--tasks"):
        threads.main(flags)
