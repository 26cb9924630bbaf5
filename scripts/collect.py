"""Collect a dataset in MuJoCo, or join datasets, and write a D4RL-format HDF5 file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.datasets.collected import (
    DEFAULT_SEED,
    DEFAULT_TRANSITIONS,
    Actions,
    collect,
    collect_policy,
    own_dataset,
)
from trajectory_adacat.datasets.union import unite
from trajectory_adacat.environments import Dynamics
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.training.interruption import Interruption, telling_how_to_resume

DEFAULT_DATASET = "hopper-medium-collected"


class Parser(CommandParser):
    """Run a policy in MuJoCo and write its transitions to a D4RL-format HDF5 file, or join such files."""

    dataset: str | None = None  # dataset with a policy of the package, by default hopper-medium-collected
    policy: Path | None = None  # policy of your own: npz, or a zip of Stable-Baselines3 (SAC, TQC, TD3, PPO)
    actions: Actions = "sampled"  # actions of --policy: sampled, or the policy's mode (without noise)
    observation_statistics: Path | None = None  # npz with mean and var, for a --policy trained with VecNormalize
    union: list[str] | None = None  # datasets (names or files) to join instead of collecting
    name: str | None = None  # name of the dataset of --policy or --union, such as hopper-medium-expert
    transitions: int | None = None  # number of environment steps to record, by default 100000
    seed: int | None = None  # random seed of the environment and of the policy's noise, by default 0
    dynamics: Dynamics | None = None  # v2 (MuJoCo 2.1.0, as in D4RL's data; the default) or native (installed MuJoCo)
    output: Path | None = None  # file to write; by default in the cache, where load_dataset finds it
    overwrite: bool = False  # replace an existing file


def check(args: Parser) -> None:
    """Check that the flags belong together.

    Raises:
        InputError: naming the flags that do not.
    """
    own = [flag for flag in ("policy", "union") if getattr(args, flag) is not None]
    if len(own) + (args.dataset is not None) > 1:
        raise InputError("--dataset, --policy and --union exclude one another: give one of them.")
    if bool(own) != (args.name is not None):
        raise InputError(
            f"--{own[0]} needs a --name for the dataset, such as hopper-expert."
            if own
            else "--name is for data of --policy or --union: give one of them, or --dataset for the package's policies."
        )
    others = {"observation_statistics": None, "actions": "sampled"} if args.policy is None else {}
    if args.union is not None:
        others |= {"transitions": None, "seed": None, "dynamics": None}
    for flag, default in others.items():
        if getattr(args, flag) != default:
            raise InputError(f"--{flag} has no effect {'with --union' if args.union else 'without --policy'}.")


def make(args: Parser) -> tuple[Path, str, list[str]]:
    """Write the file; return its path, the dataset's name, and lines about the policy."""
    if args.union is not None and args.name is not None:
        return unite(args.name, args.union, args.output, args.overwrite), own_dataset(args.name).name, []
    transitions = DEFAULT_TRANSITIONS if args.transitions is None else args.transitions
    seed = DEFAULT_SEED if args.seed is None else args.seed
    dynamics: Dynamics = args.dynamics or "v2"
    if args.policy is not None and args.name is not None:
        path, notes = collect_policy(
            args.name,
            args.policy,
            args.actions,
            args.observation_statistics,
            transitions,
            seed,
            dynamics,
            args.output,
            args.overwrite,
        )
        return path, own_dataset(args.name).name, notes
    name = args.dataset or DEFAULT_DATASET
    return collect(name, transitions, seed, dynamics, args.output, args.overwrite), name, []


def summary(dataset: Dataset, path: Path) -> str:
    """Return a line with the size of a dataset, its mean return and normalized score, and its hash."""
    returns = [float(episode.rewards.sum()) for episode in dataset.episodes]
    mean = float(np.mean(returns))
    score = normalized_score(dataset.name, mean)
    scored = "" if score is None else f" (normalized {score:.1f})"
    return (
        f"{path}: {sum(map(len, dataset.episodes))} transitions in {len(returns)} episodes with mean return {mean:.1f}"
        f"{scored}, SHA-256 {dataset.sha256}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write a dataset and print its size and mean return."""
    args = Parser().parse(argv)
    check(args)
    message = "a file is written as a whole, so the collection starts anew."
    with telling_how_to_resume("collect", argv, flag=None), Interruption(message):
        path, name, notes = make(args)
    dataset = load_dataset(name, path)
    print(summary(dataset, path))
    for note in [*notes, *dataset.notes]:
        print(note)
    if args.name is not None and args.output is None and dataset.verified:
        print(f"use it as --dataset {name}")


if __name__ == "__main__":
    run_command(main)
