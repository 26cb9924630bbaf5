"""Plans with a trained model: ``python scripts/plan.py --dataset hopper-medium-v2 --gpt_loadpath gpt/adacat_0``."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tap import TapIgnore
from tqdm import tqdm

from trajectory_adacat.checkpoint import DESCRIPTION, find_checkpoint, read_description
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import OfflineParser, dataset_folder, run_command
from trajectory_adacat.computing import limit_onednn_cache, use_device, use_threads
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.environments import Dynamics, environment_info, make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.results import ResultsWriter, RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, Rollouts
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.profiling import table_path
from trajectory_adacat.provenance import git_revision, library_versions
from trajectory_adacat.settings import to_nested

SAID_BY_TRAINING = {"dataset", "parameterization", "discount", "train_seed", "step"}


class PlanArguments(OfflineParser):
    """Plan in the environment with a trained model, and write the result of each rollout."""

    section: TapIgnore[str] = "plan"
    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)
    configs: TapIgnore[tuple[type, ...]] = (PlannerConfig,)

    exp_name: str = "plans/{gpt_loadpath}/H{horizon}_beam{beam_width}"  # experiment name; {flag} is filled in
    gpt_loadpath: str = "gpt/adacat_0"  # the trained model: a folder below <logbase>/<dataset>, or any path
    gpt_epoch: str = "latest"  # training step of the checkpoint, or latest
    environment: str | None = None  # where to act; by default where the dataset was collected
    dynamics: Dynamics | None = None  # D4RL's old dynamics (v2) or the simulator's own (native); by default the data's
    seed: int = 0  # seed of the first episode
    n_rollouts: int = 3  # episodes, with the seeds seed, seed + 1, ..., side by side
    max_episode_length: int = 1000  # steps after which an episode is cut
    compile: bool = False  # compile the blocks except attention (torch.compile); no gain on a CPU
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
    """Return the flags, with the configuration's values for the parameterization of the checkpoint that they name.

    Raises:
        InputError: if the checkpoint is missing or of another dataset, or a flag is wrong.
    """
    arguments = PlanArguments().parse(argv)
    folder = checkpoint_folder(arguments)
    description = read_description(folder)
    missing = SAID_BY_TRAINING - description.keys()
    if missing:
        raise InputError(f"The checkpoint {folder} does not say its {min(missing)}: train it with trajectory-adacat.")
    trained_on = description["dataset"]["name"]
    if trained_on != arguments.dataset:
        raise InputError(f"The checkpoint {folder} was trained on {trained_on}, not on --dataset {arguments.dataset}.")
    arguments.use_parameterization(description["parameterization"])
    return arguments, Source(folder, description, file_sha256(folder / DESCRIPTION))


def planner_config(arguments: PlanArguments, trained_discount: float) -> PlannerConfig:
    """Return how to plan, by the flags; the discount is the one of the model's values unless another is given."""
    discount = arguments.arguments()["discount"]
    return arguments.settings(PlannerConfig, discount=trained_discount if discount is None else discount)


def planner_settings(arguments: PlanArguments, config: PlannerConfig) -> dict[str, Any]:
    """Return what defines the method, as results record it."""
    return {**to_nested(config), "max_episode_length": arguments.max_episode_length}


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
    if config.precision == "bfloat16":
        limit_onednn_cache()  # worker processes inherit it
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
