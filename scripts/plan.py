"""Plan with a trained model: ``python scripts/plan.py --dataset hopper-medium-v2 --gpt_loadpath gpt/adacat_0``."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from tqdm import tqdm

from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import run_command
from trajectory_adacat.computing import limit_onednn_cache, use_device, use_threads
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.failures import FailuresWriter
from trajectory_adacat.evaluation.planned import SUSPICIOUS_RATIO
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.results import ResultsWriter
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, Rollouts
from trajectory_adacat.evaluation.watching import BarOfEach, OneBar, View
from trajectory_adacat.profiling import table_path
from trajectory_adacat.scripts.plan_arguments import PlanArguments, parse
from trajectory_adacat.scripts.plan_recording import record_config
from trajectory_adacat.scripts.plan_setting import (
    Setting,
    choose_source,
    environment_maker,
    make_setting,
    planner_config,
    result_of,
    trained_discounting,
)
from trajectory_adacat.training.interruption import Interruption, telling_how_to_resume


def write_ended(
    episodes: Sequence[EpisodeResult], writer: ResultsWriter, failures: FailuresWriter, setting: Setting, verbose: bool
) -> None:
    """Write the result of each episode that has ended since the last call, so that an interruption loses no other."""
    for episode in episodes:
        if not episode.ended or episode.seed in writer.seeds | failures.seeds:
            continue
        failures.forget(episode.seed)
        if episode.error is not None:
            tqdm.write(failures.write(episode), file=sys.stderr)
        else:
            result = result_of(episode, setting)
            path = writer.write(result)
            if verbose:
                score = "" if result.normalized_score is None else f", normalized score {result.normalized_score:.1f}"
                tqdm.write(
                    f"seed {episode.seed}: return {episode.return_:.5g} in {episode.length} steps{score}"
                    f"{planned_text(episode)} -> {path}"
                )


def planned_text(episode: EpisodeResult) -> str:
    """Return the planned and the realized discounted return of an episode for its line; empty without them."""
    if episode.planned is None:
        return ""
    return f", planned {episode.planned.planned:.5g}, realized {episode.planned.realized:.5g} (discounted)"


def print_ratio(episodes: Sequence[EpisodeResult], verbose: bool) -> None:
    """Print the mean ratio of planned to realized return if verbose, and a warning if the plans promise too much."""
    ratios = [e.planned.ratio for e in episodes if e.planned is not None and e.planned.ratio is not None]
    if not ratios:
        return
    mean = float(np.mean(ratios))
    if verbose:
        print(f"planned / realized return: {mean:.3f}, the mean of {len(ratios)} rollouts")
    if mean > SUSPICIOUS_RATIO:
        print(
            f"warning: the plans promise {mean:.2f} times what follows: the search exploits errors of the model. Try "
            "fewer candidates (--beam_width, --n_expand), likelier actions (--cdf_act), a shorter --horizon, or longer "
            "training.",
            file=sys.stderr,
        )


def run_watched(
    rollouts: Rollouts, seeds: Sequence[int], arguments: PlanArguments, on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    """Run the episodes as `run_in_processes` does, and show how far they are."""
    is_each = arguments.watch and arguments.verbose and sys.stderr.isatty()
    one = partial(OneBar, rollouts.max_length, arguments.vis_freq, arguments.verbose)
    make_view: Callable[[], View] = partial(BarOfEach, seeds, rollouts.max_length) if is_each else one
    with make_view() as view:

        def show(results: Sequence[EpisodeResult]) -> None:
            view.show(results)
            on_step(results)

        return run_in_processes(rollouts, seeds, arguments.processes, show)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the rollouts and write their results to ``<logbase>/<dataset>/<exp_name>``.

    Raises:
        InputError: for bad input before the first step, and at the end if an environment failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("torchrun is for training: here --processes shares the rollouts.")
    arguments, checkpoint = parse(argv)
    check_positive(arguments, "n_rollouts", "max_episode_length", "vis_freq", "processes", "record_every")
    if arguments.step_timeout is not None and not 0.0 < arguments.step_timeout < math.inf:
        raise InputError(f"--step_timeout must be finite and above 0, got {arguments.step_timeout}.")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, got {arguments.seed}.")
    use_threads(arguments.threads)
    device = use_device(arguments.device)
    config = planner_config(arguments, checkpoint.description["discount"])
    if config.precision == "bfloat16":
        limit_onednn_cache()  # worker processes inherit it
    source = choose_source(arguments, checkpoint.description["dataset"])
    setting = make_setting(source, arguments, checkpoint, config)
    writer = ResultsWriter(arguments.savepath, setting.planner, checkpoint.hash, delete_others=arguments.overwrite)
    failures = FailuresWriter(arguments.savepath, setting.environment, setting.planner, checkpoint.hash)
    rollouts = Rollouts(
        make_planner=partial(checkpoint.make_planner, config, device, arguments.compile),
        make_environment=environment_maker(source, arguments),
        max_length=setting.planner["max_episode_length"],
        threads=arguments.threads,
        profile=arguments.savepath / "profile" if arguments.profile else None,
        profiled_step=2 * config.plan_freq,  # the third plan
        discounting=trained_discounting(checkpoint.description, config.search.discount),
        record=record_config(arguments, setting, argv),
    )
    finished = writer.finished(setting.environment) if arguments.resume else set()
    seeds = [seed for seed in range(arguments.seed, arguments.seed + arguments.n_rollouts) if seed not in finished]
    if not seeds:
        print(f"{arguments.savepath} holds the results of all {arguments.n_rollouts} rollouts")
        return
    on_step = partial(write_ended, writer=writer, failures=failures, setting=setting, verbose=arguments.verbose)
    with telling_how_to_resume("plan", argv), Interruption("the results of rollouts that have ended are kept."):
        episodes, n_clamped = run_watched(rollouts, seeds, arguments, on_step)
    print_ratio(episodes, arguments.verbose)
    if arguments.verbose and n_clamped:
        print(f"clamped {n_clamped} values outside the training data's bounds")
    if arguments.verbose and rollouts.profile is not None and table_path(rollouts.profile).exists():
        print(f"profile of the third plan -> {rollouts.profile}")
    if arguments.verbose and rollouts.record is not None:
        print(f"recordings -> {rollouts.record.folder}")
    if failures.seeds:
        raise InputError(
            f"The environment failed in {len(failures.seeds)} of {arguments.n_rollouts} rollouts (seeds "
            f"{', '.join(map(str, sorted(failures.seeds)))}), which are left out of the results: see {failures.path}."
        )


if __name__ == "__main__":
    run_command(main)
