"""Run the whole pipeline in minutes: collect, train, plan, tabulate (``make demo``)."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tap import TapIgnore

from trajectory_adacat.command_line import OfflineParser, run_command
from trajectory_adacat.environments import environment_info, make_environment
from trajectory_adacat.evaluation.results import RolloutResult, load_results
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.evaluation.statistics import standard_error
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.planning.search_config import NO_SEARCH
from trajectory_adacat.plotting import plot, table
from trajectory_adacat.plotting.formats import number, with_error
from trajectory_adacat.provenance import git_revision, library_versions
from trajectory_adacat.scripts import plan, train


class DemoArguments(OfflineParser):
    """Collect a dataset, train on it, act with and without a search, and tabulate the returns beside the data's."""

    section: TapIgnore[str] = "demo"
    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)

    dataset: str = "hopper-medium-collected"  # dataset that can be collected on demand
    preset: str | None = "demo"  # named settings of the configuration
    exp_name: str = "demo"  # experiment name
    seed: int = 0  # seed of the training and of the first episode
    n_rollouts: int = 3  # episodes with a search, without one, and of the random policy
    n_steps: int | None = None  # training steps, by default the preset's


def random_episode(dataset: str, seed: int) -> tuple[float, int, bool]:
    """Run an episode of uniformly random actions; return its return, its length and whether it terminated."""
    environment = make_environment(dataset)
    environment.reset(seed=seed)
    environment.action_space.seed(seed)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
        rewards.append(float(reward))
    return float(np.sum(rewards)), len(rewards), terminated


def random_results(arguments: DemoArguments) -> list[RolloutResult]:
    """Return the results of the random policy, for the table's second column."""
    results = []
    for seed in range(arguments.seed, arguments.seed + arguments.n_rollouts):
        return_, length, terminated = random_episode(arguments.dataset, seed)
        values: dict[str, Any] = {
            "dataset": arguments.dataset,
            "parameterization": "random policy",
            "train_seed": arguments.seed,
            "rollout_seed": seed,
            "return_": return_,
            "normalized_score": normalized_score(arguments.dataset, return_),
            "length": length,
            "terminated": terminated,
            "truncated": not terminated,
            "planner": {},
            "checkpoint": {"hash": None},
            "environment": environment_info(arguments.dataset),
            "versions": library_versions(),
            "git_revision": git_revision(),
            "seconds_per_action": 0.0,
            "data_status": "verified",
        }
        results.append(RolloutResult(**values))
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run every stage and write everything below ``<logbase>/<dataset>/<exp_name>``."""
    arguments = DemoArguments().parse(argv)
    arguments.suffix = ""  # one folder holds all the stages
    folder = arguments.savepath
    common = ["--dataset", arguments.dataset, "--preset", str(arguments.preset), "--logbase", arguments.logbase]
    common += ["--seed", str(arguments.seed), "--config", arguments.config, "--device", arguments.device]
    common += ["--verbose", str(arguments.verbose), "--suffix", ""]
    steps = [] if arguments.n_steps is None else ["--n_steps", str(arguments.n_steps)]
    train.main([*common, "--exp_name", f"{arguments.exp_name}/gpt", "--overwrite", *steps])
    for old in ("plans", "random"):  # results of the deleted model
        shutil.rmtree(folder / old, ignore_errors=True)
    common += ["--gpt_loadpath", f"{arguments.exp_name}/gpt", "--n_rollouts", str(arguments.n_rollouts)]
    no_search = [text for name, value in NO_SEARCH.items() for text in (f"--{name}", str(value))]
    for name, flags in {"no_search": no_search, "search": []}.items():
        plan.main([*common, "--exp_name", f"{arguments.exp_name}/plans/{name}", *flags])
    for result in random_results(arguments):
        result.save(folder / "random")
    report(folder)


def report(folder: Path) -> None:
    """Print the tables; write the score table and its figure into ``folder``."""
    shown = [str(folder / "plans" / "search"), str(folder / "random")]  # another planner is a column of long settings
    table.main(shown)
    table.main([*shown, "--out", str(folder / "table.md")])
    plot.main([*shown, "--out", str(folder / "scores.png")])
    searched, sampled = (returns_in(folder / "plans" / name) for name in ("search", "no_search"))
    data = next(iter(load_results([folder / "plans"]).values())).references["dataset mean return"]
    rows = {
        "the dataset's episodes, mean": number(data),
        "no search: actions sampled from the model": with_error(float(np.mean(sampled)), standard_error(sampled)),
        "search": with_error(float(np.mean(searched)), standard_error(searched)),
    }
    print()
    for name, cell in {"": "return", **rows}.items():
        print(f"{name:<44}{cell}")
    over = f"{len(searched)} rollouts" if len(searched) > 1 else "one rollout"
    print(f"\nOver {over} of one training: another training, or another processor, may give another mean.")


def returns_in(folder: Path) -> list[float]:
    """Return the returns of the results in a folder."""
    return [result.return_ for result in load_results([folder]).values()]


if __name__ == "__main__":
    run_command(main)
