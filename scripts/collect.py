"""Collect an embedded dataset: roll a behaviour policy out in MuJoCo and write a D4RL-format HDF5 file."""

from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.collected import DEFAULT_SEED, DEFAULT_TRANSITIONS, collect
from trajectory_adacat.environments import Dynamics


class Parser(CommandParser):
    """Roll a behaviour policy out in MuJoCo and write its transitions to a D4RL-format HDF5 file."""

    dataset: str = "hopper-medium-collected"  # {hopper,halfcheetah,walker2d}-{medium,random}-collected
    transitions: int = DEFAULT_TRANSITIONS  # number of environment steps to record
    seed: int = DEFAULT_SEED  # of the environment and of the policy's noise
    dynamics: Dynamics = "v2"  # v2 (the engine of D4RL's data) or native (the installed one's)
    output: Path | None = None  # file to write; by default the cache, where load_dataset looks
    overwrite: bool = False  # replace a file that is there already


def main(argv: Sequence[str] | None = None) -> None:
    """Collect, and say what came out."""
    args = Parser().parse(argv)
    path = collect(args.dataset, args.transitions, args.seed, args.dynamics, args.output, args.overwrite)
    returns = [float(episode.rewards.sum()) for episode in load_dataset(args.dataset, path).episodes]
    mean = sum(returns) / len(returns)
    print(f"{path}: {args.transitions} transitions in {len(returns)} episodes with mean return {mean:.1f}")


if __name__ == "__main__":
    run_command(main)
