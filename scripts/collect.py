"""Collect a dataset: run a behaviour policy in MuJoCo and write a D4RL-format HDF5 file."""

from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.collected import DEFAULT_SEED, DEFAULT_TRANSITIONS, collect
from trajectory_adacat.environments import Dynamics


class Parser(CommandParser):
    """Run a behaviour policy in MuJoCo and write its transitions to a D4RL-format HDF5 file."""

    dataset: str = "hopper-medium-collected"  # dataset to collect, such as walker2d-random-collected
    transitions: int = DEFAULT_TRANSITIONS  # number of environment steps to record
    seed: int = DEFAULT_SEED  # random seed of the environment and of the policy's noise
    dynamics: Dynamics = "v2"  # v2 (MuJoCo 2.1.0, as in D4RL's data) or native (the installed MuJoCo)
    output: Path | None = None  # file to write; by default in the cache, where load_dataset finds it
    overwrite: bool = False  # replace an existing file


def main(argv: Sequence[str] | None = None) -> None:
    """Collect a dataset and print its size and mean return."""
    args = Parser().parse(argv)
    path = collect(args.dataset, args.transitions, args.seed, args.dynamics, args.output, args.overwrite)
    returns = [float(episode.rewards.sum()) for episode in load_dataset(args.dataset, path).episodes]
    mean = sum(returns) / len(returns)
    print(f"{path}: {args.transitions} transitions in {len(returns)} episodes with mean return {mean:.1f}")


if __name__ == "__main__":
    run_command(main)
