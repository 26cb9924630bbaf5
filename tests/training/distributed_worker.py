"""Worker of ``test_distributed.py``: ``torchrun --nproc_per_node 2 distributed_worker.py TASK FOLDER``."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch

from trajectory_adacat.command_line import run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.training import distributed
from trajectory_adacat.training.distributed import World, process_group

TIMEOUT = 4.0  # seconds; replaces the collective timeout of minutes


def run_collectives(world: World, folder: Path) -> dict[str, object]:
    vector, matrix = torch.tensor([1.0, 2.0]) * (world.rank + 1), torch.full((2, 2), float(world.rank))
    world.all_reduce_sum_([vector, matrix])
    message = None
    try:
        with world.raise_everywhere():
            if world.rank == 1:
                raise InputError("only on rank 1")
    except InputError as error:
        message = str(error)

    def append_rank() -> str:
        if world.is_rank0:
            time.sleep(1.5 * TIMEOUT)  # any other collective would time out on rank 1
        with (folder / "ranks.txt").open("a") as file:
            file.write(str(world.rank))
        return (folder / "ranks.txt").read_text()

    return {
        "sums": [vector.tolist(), matrix.tolist()],
        "gathered": world.all_gather(f"rank {world.rank}"),
        "error": message,
        "ranks": world.rank0_first(append_rank),
    }


def time_out(folder: Path) -> None:
    """Let rank 0 wait in a collective that rank 1 does not join."""
    with process_group() as world:
        world.all_gather("both ranks are running")
        if world.rank == 1:
            for _ in range(30):
                time.sleep(1.0)
                if (folder / "timed out.txt").exists():
                    return
            (folder / "left.txt").touch()  # rank 0 fails when rank 1 exits: that would be no timeout
            return
        try:
            world.all_reduce_sum_([torch.ones(1)])
        except RuntimeError:
            (folder / "timed out.txt").touch()
            raise


def main(argv: Sequence[str] | None = None) -> None:
    task, name = argv or sys.argv[1:]
    folder = Path(name)
    distributed.COLLECTIVE_TIMEOUT = timedelta(seconds=TIMEOUT)
    if task == "timeout":
        time_out(folder)
        return
    with process_group() as world:
        (folder / f"{world.rank}.json").write_text(json.dumps(run_collectives(world, folder)))
        with world.raise_everywhere():
            if world.rank == 1:
                raise InputError("reported once")


if __name__ == "__main__":
    run_command(main)
