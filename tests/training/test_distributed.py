"""Collectives in two processes started by torchrun, and cases that need one process only."""

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
from trajectory_adacat.training.distributed import World, process_group

WORKER = Path(__file__).with_name("distributed_worker.py")
Run = tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the finished command, and the results of its two ranks."""
    folder = tmp_path_factory.mktemp("two")
    done = run_two_processes("collectives", folder)
    return done, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def run_two_processes(task: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, str(WORKER), task, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_all_reduce_sums_over_all_ranks(run: Run) -> None:
    assert [result["sums"] for result in run[1]] == [[[3.0, 6.0], [[1.0, 1.0], [1.0, 1.0]]]] * 2


def test_all_gather_orders_values_by_rank(run: Run) -> None:
    assert [result["gathered"] for result in run[1]] == [["rank 0", "rank 1"]] * 2


def test_other_ranks_wait_for_rank_0_longer_than_the_collective_timeout(run: Run) -> None:
    assert [result["ranks"] for result in run[1]] == ["0", "01"]


def test_an_input_error_of_one_rank_is_raised_on_all_and_reported_once(run: Run) -> None:
    assert [result["error"] for result in run[1]] == ["only on rank 1"] * 2
    assert run[0].returncode != 0
    assert run[0].stderr.count("error: reported once") == 1


def test_a_collective_times_out_if_a_rank_does_not_join(tmp_path: Path) -> None:
    assert run_two_processes("timeout", tmp_path).returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["timed out.txt"]


# -- one process ---------------------------------------------------------------------------------------------


def test_without_torchrun_the_world_has_one_process() -> None:
    with process_group() as world:
        assert world == World(0, 1)
    total = torch.ones(2)
    world.all_reduce_sum_([total])
    assert total.tolist() == [1.0, 1.0]
    assert world.all_gather(5) == [5]
    calls: list[None] = []
    assert world.rank0_first(lambda: calls.append(None)) is None
    assert calls == [None]
    with pytest.raises(InputError, match="here"), world.raise_everywhere():
        raise InputError("here")


@pytest.mark.parametrize("error", [RuntimeError, InputError])
def test_an_exception_destroys_the_process_group(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    launched = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "1"}
    for name, value in {**launched, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match="during training"), process_group():
        assert dist.is_initialized()
        raise error("during training")
    assert not dist.is_initialized()


@settings(deadline=None)
@given(n_windows=st.integers(0, 40), size=st.integers(1, 9))
def test_shards_partition_the_windows_evenly(n_windows: int, size: int) -> None:
    windows = torch.arange(n_windows)
    shards = [World(rank, size).shard(windows) for rank in range(size)]
    assert torch.equal(torch.cat(shards), windows)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_each_local_rank_has_its_own_gpu() -> None:
    assert World(5, 8, local_rank=1).device("cuda") == "cuda:1"
    assert World(5, 8, local_rank=1).device("cpu") == "cpu"
    assert [World().device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    assert World(1, 2, local_rank=0, local_size=1).device("cuda:1") == "cuda:1"  # one process per machine
    with pytest.raises(InputError, match="--device cuda"):
        World(0, 2, local_size=2).device("cuda:1")
