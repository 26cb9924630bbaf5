"""Run the whole pipeline in minutes: collect, train a model and a critic, plan, tabulate (``make demo``)."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tap import TapIgnore
from tqdm import tqdm

from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import OfflineParser, run_command
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.environments import environment_info, make_environment
from trajectory_adacat.evaluation.results import RolloutResult, load_results
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.evaluation.statistics import standard_error
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.planning.search_config import NO_SEARCH
from trajectory_adacat.plotting import plot, table
from trajectory_adacat.plotting.formats import number, with_error
from trajectory_adacat.plotting.report import command as page
from trajectory_adacat.provenance import git_revision, library_versions
from trajectory_adacat.scripts import critic, plan, train
from trajectory_adacat.sweep.together import run_together
from trajectory_adacat.training.lock import refuse_if_locked
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

# The ways to act and their lines in the report, each with the folder of its results below "plans".
ROWS = {
    "no_search": "no search: actions sampled from the model",
    "values": "search by the model's value tokens",
    "critic": "search by the critic",
}


class DemoArguments(OfflineParser):
    """Collect a dataset, train a model and a critic, act with and without a search, and tabulate the returns."""

    section: TapIgnore[str] = "demo"
    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)

    dataset: str = "hopper-medium-collected"  # dataset that can be collected on demand
    preset: str | None = "demo"  # named settings of the configuration
    exp_name: str = "demo"  # experiment name
    seed: int = 0  # seed of the trainings and of the first episode
    n_rollouts: int = 3  # episodes of each way to act, and of the random policy
    n_steps: int | None = None  # training steps of the model, by default the preset's
    critic_steps: int | None = None  # training steps of the critic, by default the preset's
    values: bool = False  # also search by the model's value tokens
    processes: int = 2  # processes that share the episodes, one thread each


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


class Training(NamedTuple):
    """A training of the demo: its command, the folder that it writes, and its number of steps."""

    command: list[str]
    folder: Path
    n_steps: int


def make_trainings(arguments: DemoArguments, common: Sequence[str]) -> dict[str, Training]:
    """Return the trainings of the model and the critic, by name.

    Raises:
        InputError: if a flag is wrong, or one of them runs already.
    """
    found = {}
    for name, module, parser, n_steps in (
        ("model", train, train.TrainArguments, arguments.n_steps),
        ("critic", critic, critic.CriticArguments, arguments.critic_steps),
    ):
        steps = [] if n_steps is None else ["--n_steps", str(n_steps)]
        argv = [*common, "--exp_name", f"{arguments.exp_name}/{name}", *steps]
        parsed = parser().parse(argv)
        refuse_if_locked(parsed.savepath)
        found[name] = Training(["-m", module.__name__, *argv], parsed.savepath, parsed.arguments()["n_steps"])
    return found


def train_together(trainings: Mapping[str, Training], folder: Path, verbose: bool) -> None:
    """Train model and critic at the same time, with a bar for each.

    Raises:
        InputError: if one fails, with its error; the other is ended.
    """
    with ExitStack() as stack:
        bars = {
            name: stack.enter_context(
                tqdm(total=training.n_steps, desc=f"{name:<6}", unit="step", position=i, disable=not verbose)
            )
            for i, (name, training) in enumerate(trainings.items())
        }

        def show() -> None:
            for name, training in trainings.items():
                logged = read_metrics(training.folder) if (training.folder / METRICS_FILE).exists() else []
                bars[name].update(int(logged[-1]["step"]) - bars[name].n if logged else 0)

        run_together({name: training.command for name, training in trainings.items()}, folder, on_poll=show)


def main(argv: Sequence[str] | None = None) -> None:
    """Run every stage and write everything below ``<logbase>/<dataset>/<exp_name>``.

    Raises:
        InputError: for a bad flag, or if a training fails.
    """
    arguments = DemoArguments().parse(argv)
    check_positive(arguments, "n_rollouts", "processes")
    arguments.suffix = ""  # one folder holds all the stages
    folder = arguments.savepath
    common = ["--dataset", arguments.dataset, "--preset", str(arguments.preset), "--logbase", arguments.logbase]
    common += ["--seed", str(arguments.seed), "--config", arguments.config, "--device", arguments.device]
    common += ["--verbose", str(arguments.verbose), "--suffix", ""]
    trainings = make_trainings(arguments, common)
    load_dataset(arguments.dataset)  # collects it, before two processes would
    for old in (*trainings, "plans", "random"):
        shutil.rmtree(folder / old, ignore_errors=True)
    if arguments.verbose:
        logs = " and ".join(str(folder / f"{name}.log") for name in trainings)
        print(f"training a model and a critic side by side; what they print is in {logs}", flush=True)
    train_together(trainings, folder, arguments.verbose)
    common += ["--gpt_loadpath", f"{arguments.exp_name}/model", "--n_rollouts", str(arguments.n_rollouts)]
    common += ["--processes", str(min(arguments.processes, arguments.n_rollouts))]
    for name, flags in plans(arguments).items():
        if arguments.verbose:
            print(ROWS[name], flush=True)
        plan.main([*common, "--exp_name", f"{arguments.exp_name}/plans/{name}", *flags])
    for result in random_results(arguments):
        result.save(folder / "random")
    report(folder)
    page.main([str(folder), "--out", str(folder / "report.html"), "--title", f"Demo: {arguments.dataset}"])


def plans(arguments: DemoArguments) -> dict[str, list[str]]:
    """Return the flags of each way to act, by the name of its row."""
    settings = {**NO_SEARCH, "scoring": "values"}
    no_search = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    by_values = {"values": ["--scoring", "values"]} if arguments.values else {}
    recorded = ["--record", str(arguments.seed), "--frames"]
    return {"no_search": no_search, **by_values, "critic": ["--critic", f"{arguments.exp_name}/critic", *recorded]}


def report(folder: Path) -> None:
    """Print the tables; write the score table and its figure into ``folder``."""
    shown = [str(folder / "plans" / "critic"), str(folder / "random")]  # another planner is a column of long settings
    table.main(shown)
    table.main([*shown, "--out", str(folder / "table.md")])
    plot.main([*shown, "--out", str(folder / "scores.png")])
    returns = {name: returns_in(folder / "plans" / name) for name in ROWS if (folder / "plans" / name).exists()}
    data = next(iter(load_results([folder / "plans"]).values())).references["dataset mean return"]
    rows = {"the dataset's episodes, mean": number(data)}
    rows |= {ROWS[name]: with_error(float(np.mean(found)), standard_error(found)) for name, found in returns.items()}
    print()
    for name, cell in {"": "return", **rows}.items():
        print(f"{name:<44}{cell}")
    n = len(returns["critic"])
    over = f"{n} rollouts" if n > 1 else "one rollout"
    print(f"\nOver {over} of one training: another training, or another processor, may give another mean.")


def returns_in(folder: Path) -> list[float]:
    """Return the returns of the results in a folder."""
    return [result.return_ for result in load_results([folder]).values()]


if __name__ == "__main__":
    run_command(main)
