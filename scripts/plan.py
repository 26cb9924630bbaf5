"""Plans with a trained model: ``python scripts/plan.py --dataset hopper-medium-v2 --gpt_loadpath gpt/adacat_0``."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from tap import TapIgnore
from tqdm import tqdm

from trajectory_adacat.checkpoint import DESCRIPTION, find_checkpoint, read_description
from trajectory_adacat.checks import check_positive
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.configuration import OfflineParser, dataset_folder, pick, run_command
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.environments import Dynamics, environment_info, make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.results import ResultsWriter, RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, Rollouts
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.planning.beam_search import BeamSearchConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.profiling import table_path
from trajectory_adacat.provenance import git_revision, library_versions

SAID_BY_TRAINING = {"dataset", "parameterization", "discount", "train_seed", "step"}


class PlanArguments(OfflineParser):
    """Plan in the environment with a trained model, and write one JSON for each rollout."""

    section: TapIgnore[str] = "plan"

    exp_name: str = "plans/{gpt_loadpath}/H{horizon}_beam{beam_width}"  # experiment name; {flag} is filled in
    gpt_loadpath: str = "gpt/adacat_0"  # the trained model: a folder below <logbase>/<dataset>, or any path
    gpt_epoch: str = "latest"  # training step of the checkpoint, or latest
    environment: str | None = None  # where to act; by default where the dataset was collected
    dynamics: Dynamics | None = None  # D4RL's old dynamics (v2) or the simulator's own (native); by default the data's
    discount: float | None = None  # discount of the search; by default the one of the model's values
    horizon: int = 15  # transitions to imagine
    beam_width: int = 128  # beams kept after each transition
    n_expand: int = 2  # actions sampled for each beam
    k_obs: int | None = 1  # observations from this many most massive bins only
    k_act: int | None = None  # actions from this many most massive bins only
    k_rew: int | None = 1  # rewards and values from this many most massive bins only
    cdf_obs: float = 0.0  # x: observations from the fewest bins that hold 1 - x of the probability mass
    cdf_act: float = 0.0  # x: actions from the fewest bins that hold 1 - x of the probability mass
    drop_obs: float = 0.0  # x: observations without this fraction of the bins, the least massive ones
    drop_act: float = 0.0  # x: actions without this fraction of the bins, the least massive ones
    sampling: Literal["uniform", "midpoint", "mean"] = "uniform"  # within a bin, or the mean of what is kept
    percentile: str = "mean"  # rewards and values count with their mean, or with this percentile (0 to 100)
    use_ema: bool = False  # plan with the moving average of the weights
    precision: Literal["float32", "bfloat16"] = "float32"  # of the blocks' matrices and the cache
    compile: bool = False  # compile what follows the attention in each block (torch.compile); no gain on a CPU
    plan_freq: int = 1  # steps between two plans
    max_context_transitions: int = 5  # bounds the past that the model sees, the current transition included
    window: Literal["cropped", "full"] = "cropped"  # while imagining: crop to that bound, or fill the trained block
    prefix_context: bool = True  # give the model the past, not the current observation alone
    n_rollouts: int = 3  # episodes, with the seeds seed, seed + 1, ..., side by side
    max_episode_length: int = 1000  # steps after which an episode is cut
    overwrite: bool = False  # delete this experiment's results that are of other settings or of another checkpoint
    vis_freq: int = 50  # environment steps between two updates of the returns shown
    threads: int = 1  # threads of each process
    processes: int = 1  # processes that share the rollouts, each with its own threads
    profile: bool = False  # time the third plan by operator, into <experiment>/profile


def checkpoint_folder(arguments: PlanArguments) -> Path:
    """The checkpoint that the flags name.

    Raises:
        InputError: if there is none.
    """
    below = Path(arguments.logbase, dataset_folder(arguments.dataset), arguments.gpt_loadpath)
    folder = below if below.exists() else Path(arguments.gpt_loadpath)
    return find_checkpoint(folder if folder.exists() else below, arguments.gpt_epoch)


class Source(NamedTuple):
    """The checkpoint that plans: its folder, what it says of itself, and the hash of that."""

    folder: Path
    description: dict[str, Any]
    hash: str


def parse(argv: Sequence[str] | None) -> tuple[PlanArguments, Source]:
    """The flags, with the configuration's values for the parameterization of the checkpoint that they name.

    Raises:
        InputError: if the checkpoint is missing or of another dataset, or a flag is wrong.
    """
    first = PlanArguments().parse(argv)
    folder = checkpoint_folder(first)
    description = read_description(folder)
    missing = SAID_BY_TRAINING - description.keys()
    if missing:
        raise InputError(f"The checkpoint {folder} does not say its {min(missing)}: train it with trajectory-adacat.")
    trained_on = description["dataset"]["name"]
    if trained_on != first.dataset:
        raise InputError(f"The checkpoint {folder} was trained on {trained_on}, not on --dataset {first.dataset}.")
    source = Source(folder, description, file_sha256(folder / DESCRIPTION))
    return PlanArguments().parse(argv, parameterization=description["parameterization"]), source


def planner_config(arguments: PlanArguments, trained_discount: float) -> PlannerConfig:
    """How to plan, by the flags."""
    discount = trained_discount if arguments.discount is None else arguments.discount
    try:
        percentile = "mean" if arguments.percentile == "mean" else float(arguments.percentile)
    except ValueError:
        raise InputError(f"--percentile is 'mean' or a number from 0 to 100, not {arguments.percentile!r}.") from None
    return PlannerConfig(
        search=pick(BeamSearchConfig, arguments, discount=discount, percentile=percentile),
        window=WindowConfig(arguments.window, arguments.max_context_transitions),
        plan_freq=arguments.plan_freq,
        prefix_context=arguments.prefix_context,
        use_ema=arguments.use_ema,
        precision=arguments.precision,
    )


def planner_settings(arguments: PlanArguments, config: PlannerConfig) -> dict[str, Any]:
    """What defines the method, as it stands in the results."""
    return {**asdict(config), "max_episode_length": arguments.max_episode_length}


def to_result(
    episode: EpisodeResult, arguments: PlanArguments, checkpoint: Source, config: PlannerConfig, where: dict
) -> RolloutResult:
    """Return an episode's result with all that it depends on."""
    description = checkpoint.description
    dataset = description["dataset"]
    return RolloutResult(
        dataset=dataset["name"],
        parameterization=description["parameterization"],
        train_seed=description["train_seed"],
        rollout_seed=episode.seed,
        return_=episode.return_,
        normalized_score=normalized_score(dataset["name"], episode.return_),
        length=episode.length,
        terminated=episode.terminated,
        truncated=episode.truncated,
        planner=planner_settings(arguments, config),
        checkpoint={"hash": checkpoint.hash, "step": description["step"], "training": description["training"]},
        environment=where,
        versions=library_versions(),
        git_revision=git_revision(),
        seconds_per_action=episode.seconds_per_action,
        data_status="verified" if dataset["verified"] else "unverified",
        references={"dataset mean return": dataset["mean_return"]},
    )


def write_ended(
    episodes: Sequence[EpisodeResult],
    writer: ResultsWriter,
    make_result: Callable[[EpisodeResult], RolloutResult],
    verbose: bool,
) -> None:
    """Write the result of each episode that has ended since the last call, so that an interruption loses no other."""
    for episode in episodes:
        if episode.ended and episode.seed not in writer.seeds:
            result = make_result(episode)
            path = writer.write(result)
            if verbose:
                score = "" if result.normalized_score is None else f", normalized score {result.normalized_score:.1f}"
                tqdm.write(
                    f"seed {episode.seed}: return {episode.return_:.0f} in {episode.length} steps{score} -> {path}"
                )


def run_watched(
    rollouts: Rollouts, seeds: Sequence[int], arguments: PlanArguments, on_step: OnStep
) -> tuple[list[EpisodeResult], int]:
    """Run the episodes as `run_in_processes` does, with a bar that shows the length of the shortest live one."""
    with tqdm(total=arguments.max_episode_length, desc="plan", unit="step", disable=not arguments.verbose) as bar:

        def show(results: Sequence[EpisodeResult]) -> None:
            live = [result.length for result in results if not result.ended]
            step = min(live) if live else max(result.length for result in results)
            if step // arguments.vis_freq > bar.n // arguments.vis_freq:
                mean = np.mean([result.return_ for result in results])
                bar.set_postfix_str(f"{len(live)} live, mean return {mean:.0f}")
            bar.update(step - bar.n)
            on_step(results)

        return run_in_processes(rollouts, seeds, arguments.processes, show)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the rollouts and writes their results to ``<logbase>/<dataset>/<exp_name>``."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("torchrun is for training: here --processes shares the rollouts.")
    arguments, checkpoint = parse(argv)
    check_positive(arguments, "n_rollouts", "max_episode_length", "vis_freq", "processes")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, got {arguments.seed}.")
    use_threads(arguments.threads)
    device = use_device(arguments.device)
    config = planner_config(arguments, checkpoint.description["discount"])
    settings = planner_settings(arguments, config)
    writer = ResultsWriter(arguments.savepath, settings, checkpoint.hash, delete_others=arguments.overwrite)
    name = arguments.environment or checkpoint.description["dataset"]["environment"]
    if name is None:
        raise InputError(f"The dataset {arguments.dataset} does not say where it was collected: pass --environment.")
    rollouts = Rollouts(
        make_planner=partial(Planner.from_checkpoint, checkpoint.folder, config, device, arguments.compile),
        make_environment=partial(make_environment, name, arguments.dynamics),
        max_length=arguments.max_episode_length,
        threads=arguments.threads,
        profile=arguments.savepath / "profile" if arguments.profile else None,
        profiled_step=2 * config.plan_freq,  # the third plan
    )
    seeds = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    where = environment_info(name, arguments.dynamics)
    make_result = partial(to_result, arguments=arguments, checkpoint=checkpoint, config=config, where=where)
    on_step = partial(write_ended, writer=writer, make_result=make_result, verbose=arguments.verbose)
    _, n_clamped = run_watched(rollouts, seeds, arguments, on_step)
    if arguments.verbose and n_clamped:
        print(f"clamped {n_clamped} values outside the training data's bounds")
    if arguments.verbose and rollouts.profile is not None and table_path(rollouts.profile).exists():
        print(f"profile of the third plan -> {rollouts.profile}")


if __name__ == "__main__":
    run_command(main)
