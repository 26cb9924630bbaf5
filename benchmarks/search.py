"""Does the search pay? Returns of a trained model without search and with more and more of it.

    python -m benchmarks.search --checkpoint logs/hopper-medium-collected/gpt/adacat_0

One factor varies at a time around the preset's planning. ``--critic logs/hopper-medium-collected/critic/iql_0`` adds
rows of searches that a critic guides. Each row is planned by the plan command, whose results below ``--logbase`` are
kept: the next call does not plan finished rows again. docs/planning.md says how to read the table.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from benchmarks.action_values import plan_flags
from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, load_results
from trajectory_adacat.evaluation.source import Source
from trajectory_adacat.evaluation.statistics import summarize
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.planning.scoring import Aggregate
from trajectory_adacat.planning.search_config import NO_SEARCH
from trajectory_adacat.scripts import plan, plan_arguments, plan_setting

Settings = dict[str, Any]  # of a planner, by flag


class SearchArguments(CommandParser):
    """Compare a trained model's returns without search and with more and more of it."""

    checkpoint: list[Path]  # trained model, or one of each of several trainings: the training's folder or a checkpoint
    critic: list[Path] = []  # trained critic of each of them, in the same order; by default no rows with a critic
    preset: str | None = None  # preset that the ladder varies; by default the one for the dataset
    horizons: list[int] = [1, 3, 5, 15]  # horizons
    beam_widths: list[int] = [2, 8, 32, 128]  # numbers of beams
    cdf_acts: list[float] = [0.0, 0.5, 0.8, 0.9]  # cutoffs of actions by probability mass, without drop_act
    drop_acts: list[float] = [0.6]  # cutoffs of actions by number of bins, without cdf_act
    critic_horizons: list[int] = [1, 3]  # horizons with a critic
    candidates: list[int] = [2, 4, 8, 16, 32, 64, 128]  # numbers of candidates with a critic: half as many beams x 2
    aggregates: list[Aggregate] = list(get_args(Aggregate))  # aggregates of a critic's networks
    n_rollouts: int = 10  # rollouts of each training on each row
    seed: int = 100  # first rollout seed; not 0, where reported rollouts start
    max_length: int | None = None  # steps after which an episode is cut; by default the environment's limit
    processes: int = 1  # processes that share the rollouts, one thread each
    logbase: str = "search"  # folder of the results; not logs, whose tables would count them


def make_rungs(arguments: SearchArguments, has_bins: bool) -> dict[str, Settings]:
    """Return the ladder, settings by name: no search, then the preset with one factor changed at a time.

    Without bins in the model's outputs, there are no cutoffs by bin to vary.
    """
    rungs: dict[str, Settings] = {"no search, sample": NO_SEARCH}
    if has_bins:
        rungs["no search, likeliest bin"] = {**NO_SEARCH, "k_act": 1}
    rungs |= {"no search, mean": {**NO_SEARCH, "sampling": "mean"}, "preset": {}}
    rungs |= {f"horizon {horizon}": {"horizon": horizon} for horizon in arguments.horizons}
    rungs |= {f"beam_width {width}": {"beam_width": width} for width in arguments.beam_widths}
    if has_bins:
        rungs |= {f"cdf_act {cdf:g}": {"cdf_act": cdf, "drop_act": 0.0} for cdf in arguments.cdf_acts}
        rungs |= {f"drop_act {drop:g}": {"drop_act": drop, "cdf_act": 0.0} for drop in arguments.drop_acts}
    return rungs


def make_critic_rungs(arguments: SearchArguments) -> dict[str, Settings]:
    """Return the rows with a critic: the preset's planning with one, then one factor changed at a time.

    Raises:
        InputError: for an odd number of candidates.
    """
    for n in arguments.candidates:
        if n < 2 or n % 2:
            raise InputError(f"--candidates must be even, two for each beam, got {n}.")
    rungs: dict[str, Settings] = {"critic": {}}
    rungs |= {f"critic, horizon {horizon}": {"horizon": horizon} for horizon in arguments.critic_horizons}
    rungs |= {f"critic, {n} candidates": {"beam_width": n // 2, "n_expand": 2} for n in arguments.candidates}
    return rungs | {f"critic, {name}": {"critic_aggregate": name} for name in arguments.aggregates}


def find_trainings(arguments: SearchArguments) -> list[Source]:
    """Return the checkpoints.

    Raises:
        InputError: if one is missing or given twice, or they differ in their dataset or outputs.
    """
    found = [
        plan_arguments.parse([*plan_flags(path, arguments.preset), "--scoring", "values"])[1]
        for path in arguments.checkpoint
    ]
    kinds = {(source.description["dataset"]["sha256"], source.description["parameterization"]) for source in found}
    if len(kinds) > 1 or len({source.hash for source in found}) < len(found):
        raise InputError("--checkpoint must name different trainings of one dataset and parameterization.")
    return found


def find_guided(trainings: Sequence[Source], arguments: SearchArguments) -> list[Source]:
    """Return the checkpoints with their critics; empty without critics.

    Raises:
        InputError: if a critic is missing, or was trained on anything else than its model.
    """
    if not arguments.critic:
        return []
    if len(arguments.critic) != len(trainings):
        raise InputError(f"--critic must name a critic of each of the {len(trainings)} trainings, in the same order.")
    return [
        plan_arguments.parse([*plan_flags(training.folder, arguments.preset), "--critic", str(path.resolve())])[1]
        for training, path in zip(trainings, arguments.critic, strict=True)
    ]


class Row(NamedTuple):
    """A row of the table for one training: the flags, folder and setting of its rollouts, and its planning."""

    flags: list[str]
    folder: Path
    setting: plan_setting.Setting
    config: PlannerConfig


def make_row(training: Source, name: str, settings: Settings, arguments: SearchArguments) -> Row:
    """Return what to plan, by the training's critic if it has one.

    Raises:
        InputError: if a setting is wrong.
    """
    scorer = {"scoring": "values"} if training.critic is None else {"critic": training.critic.resolve()}
    flags = {
        "logbase": arguments.logbase,
        "exp_name": name.replace(", ", "-").replace(" ", "_"),
        "suffix": training.hash[:8],
        "n_rollouts": arguments.n_rollouts,
        "seed": arguments.seed,
        "max_episode_length": arguments.max_length,
        "processes": arguments.processes,
        "verbose": "false",
        "overwrite": "true",  # results of another preset or length
        **scorer,
        **settings,
    }
    given = [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
    argv = [*plan_flags(training.folder, arguments.preset), *given]
    parsed, source = plan_arguments.parse(argv)
    config = plan_setting.planner_config(parsed, source.description["discount"])
    environment = plan_setting.choose_source(parsed, source.description["dataset"])
    return Row(argv, parsed.savepath, plan_setting.make_setting(environment, parsed, source, config), config)


def run(row: Row, seeds: range) -> list[RolloutResult]:
    """Return the results of a row for these rollout seeds; plan unless all are there.

    Raises:
        InputError: if the environment fails.
    """

    def kept() -> list[RolloutResult]:
        results = load_results([row.folder]).values() if row.folder.exists() else ()
        ours = (row.setting.planner, row.setting.checkpoint.hash)
        return [r for r in results if (r.planner, r.checkpoint["hash"]) == ours and r.rollout_seed in seeds]

    if len(kept()) < len(seeds):
        plan.main(row.flags)
    return kept()


def climb(
    trainings: Sequence[Source], guided: Sequence[Source], arguments: SearchArguments
) -> Iterator[tuple[str, PlannerConfig, list[list[RolloutResult]]]]:
    """Yield each row's name, planning and results by training. Settings that occur twice are planned once.

    Args:
        trainings: the checkpoints.
        guided: the same with their critics; empty for no rows with a critic.
        arguments: the flags.
    """
    has_bins = load_model(trainings[0].folder).model.head.has_bins
    ladders = [(trainings, make_rungs(arguments, has_bins))]
    if guided:
        ladders.append((guided, make_critic_rungs(arguments)))
    unique: dict[PlannerConfig, tuple[str, list[Row]]] = {}
    for sources, rungs in ladders:
        for name, settings in rungs.items():
            rows = [make_row(source, name, settings, arguments) for source in sources]
            unique.setdefault(rows[0].config, (name, rows))
    seeds = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    for config, (name, rows) in tqdm(unique.items(), "ladder", unit="row"):
        yield name, config, [run(row, seeds) for row in rows]


def planned_over_realized(results: Sequence[RolloutResult]) -> str:
    """Return the mean ratio of the planned to the realized discounted return, empty where it is unknown."""
    ratios = [
        result.planned_return / result.realized_return
        for result in results
        if result.planned_return is not None and result.realized_return is not None and result.realized_return > 0
    ]
    return f"{np.mean(ratios):.2f}" if ratios else ""


def describe(name: str, config: PlannerConfig, results: Sequence[Sequence[RolloutResult]]) -> str:
    """Return a row of the table."""
    scores = [[result.return_ for result in training] for training in results]
    summary = summarize(scores)
    error = "" if summary.standard_error is None else f" ± {summary.standard_error:.3g}"
    everything = np.concatenate(scores)
    seconds = np.mean([result.seconds_per_action for training in results for result in training])
    cells = [
        name,
        f"{config.search.horizon}",
        f"{config.search.beam_width} x {config.search.n_expand}",
        f"{summary.mean:.5g}{error}",
        f"{everything.min():.4g} to {everything.max():.4g}",
        planned_over_realized([result for training in results for result in training]),
        f"{seconds:.2g}",
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, each row when it is finished.

    Raises:
        InputError: for a bad flag or checkpoint, or if an environment fails.
    """
    arguments = SearchArguments().parse(argv)
    check_positive(arguments, "n_rollouts", "max_length", "processes")
    trainings = find_trainings(arguments)
    guided = find_guided(trainings, arguments)
    dataset, unit = trainings[0].description["dataset"], "trainings" if len(trainings) > 1 else "rollouts"
    print(f"Return: mean ± standard error over {unit}. Mean of {dataset['label']}: {dataset['mean_return']:.5g}.\n")
    print("| row | horizon | beams x actions | return | min to max | planned / realized | s/action |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, config, results in climb(trainings, guided, arguments):
        tqdm.write(describe(name, config, results))


if __name__ == "__main__":
    run_command(main)
