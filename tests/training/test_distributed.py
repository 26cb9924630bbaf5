"""Processes that train together: in two real ones, and what needs only one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.errors import InputError
from trajectory_adacat.training.distributed import World, joined_processes

WORKER = Path(__file__).with_name("distributed_worker.py")
Run = tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What the two processes printed and found."""
    folder = tmp_path_factory.mktemp("two")
    done = in_two("findings", folder)
    return done, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def in_two(task: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, str(WORKER), task, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_sums_are_over_both_in_both(run: Run) -> None:
    assert [found["sums"] for found in run[1]] == [[[3.0, 6.0], [[1.0, 1.0], [1.0, 1.0]]]] * 2


def test_values_are_gathered_by_rank(run: Run) -> None:
    assert [found["gathered"] for found in run[1]] == [["of 0", "of 1"]] * 2


def test_the_others_wait_for_what_the_first_makes_on_the_disk(run: Run) -> None:
    """It takes longer than the usual wait."""
    assert [found["made"] for found in run[1]] == ["0", "01"]


def test_bad_input_that_one_finds_is_raised_by_both_and_told_once(run: Run) -> None:
    assert [found["error"] for found in run[1]] == ["only the second knows"] * 2
    assert run[0].returncode != 0
    assert run[0].stderr.count("error: told once") == 1


def test_a_process_that_does_not_come_to_a_step_is_not_waited_for_long(tmp_path: Path) -> None:
    assert in_two("absence", tmp_path).returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["given up.txt"]


# -- one process ---------------------------------------------------------------------------------------------


def test_without_torchrun_a_process_is_alone() -> None:
    with joined_processes() as world:
        assert world == World(0, 1)
    total = torch.ones(2)
    world.add_up([total])
    assert total.tolist() == [1.0, 1.0]
    assert world.gather(5) == [5]
    made: list[None] = []
    assert world.first_alone(lambda: made.append(None)) is None
    assert made == [None]
    with pytest.raises(InputError, match="here"), world.together():
        raise InputError("here")


@pytest.mark.parametrize("error", [RuntimeError, InputError])
def test_the_group_is_left_however_the_training_ends(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    launched = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "1"}
    for name, value in {**launched, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match="in between"), joined_processes():
        assert dist.is_initialized()
        raise error("in between")
    assert not dist.is_initialized()


@settings(deadline=None)
@given(n_windows=st.integers(0, 40), size=st.integers(1, 9))
def test_shares_are_all_windows_in_parts_of_nearly_one_size(n_windows: int, size: int) -> None:
    windows = torch.arange(n_windows)
    shares = [World(rank, size).share(windows) for rank in range(size)]
    assert torch.equal(torch.cat(shares), windows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_process_of_a_machine_has_a_gpu_of_its_own() -> None:
    assert World(5, 8, local_rank=1).device("cuda") == "cuda:1"
    assert World(5, 8, local_rank=1).device("cpu") == "cpu"
    assert [World().device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    assert World(1, 2, local_rank=0, local_size=1).device("cuda:1") == "cuda:1"  # one process on each machine
    with pytest.raises(InputError, match="--device cuda"):
        World(0, 2, local_size=2).device("cuda:1")
