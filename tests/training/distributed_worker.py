"""What each of two processes does in ``test_distributed.py``; started by torchrun with a task and a folder."""

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
from trajectory_adacat.training.distributed import World, joined_processes

WAIT = 4.0  # seconds, in place of minutes


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
            time.sleep(1.5 * WAIT)  # longer than the other one would wait anywhere else
        with (folder / "made.txt").open("a") as file:
            file.write(str(world.rank))
        return (folder / "made.txt").read_text()

    return {
        "sums": [vector.tolist(), matrix.tolist()],
        "gathered": world.gather(f"of {world.rank}"),
        "error": error,
        "made": world.first_alone(make),
    }


def absence(folder: Path) -> None:
    with joined_processes() as world:
        world.gather("both are there")
        if world.rank == 1:
            for _ in range(30):
                time.sleep(1.0)
                if (folder / "given up.txt").exists():
                    return
            (folder / "left.txt").touch()  # which the other one sees as well
            return
        try:
            world.add_up([torch.ones(1)])
        except RuntimeError:
            (folder / "given up.txt").touch()
            raise


def main(argv: Sequence[str] | None = None) -> None:
    task, name = argv or sys.argv[1:]
    folder = Path(name)
    distributed.USUAL_WAIT = timedelta(seconds=WAIT)
    if task == "absence":
        absence(folder)
        return
    with joined_processes() as world:
        (folder / f"{world.rank}.json").write_text(json.dumps(findings(world, folder)))
        with world.together():
            if world.rank == 1:
                raise InputError("told once")


if __name__ == "__main__":
    run_command(main)
