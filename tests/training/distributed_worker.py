"""What each of two processes does in ``test_distributed.py``; started by torchrun with a folder for its findings."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from trajectory_adacat.configuration import run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.distributed import World, joined_processes


def findings(world: World, folder: Path) -> dict[str, object]:
    vector, matrix = torch.tensor([1.0, 2.0]) * (world.rank + 1), torch.full((2, 2), float(world.rank))
    world.add_up([vector, matrix])
    error = None
    try:
        with world.together():
            if world.rank == 1:
                raise InputError("only the second knows")
    except InputError as found:
        error = str(found)

    def make() -> str:
        if world.is_first:
            time.sleep(0.5)  # long enough for the other one to overtake, if it did not wait
        with (folder / "made.txt").open("a") as file:
            file.write(str(world.rank))
        return (folder / "made.txt").read_text()

    return {
        "sums": [vector.tolist(), matrix.tolist()],
        "gathered": world.gather(f"of {world.rank}"),
        "error": error,
        "made": world.first_alone(make),
    }


def main(argv: Sequence[str] | None = None) -> None:
    folder = Path((argv or sys.argv[1:])[0])
    with joined_processes() as world:
        (folder / f"{world.rank}.json").write_text(json.dumps(findings(world, folder)))
        with world.together():
            if world.rank == 1:
                raise InputError("told once")


if __name__ == "__main__":
    run_command(main)
