"""Plan with a trained model: ``python scripts/plan.py --dataset hopper-medium-v2 --gpt_loadpath gpt/adacat_0``."""

import importlib
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tap import TapIgnore
from tqdm import tqdm

from trajectory_adacat.checkpoint import find_checkpoint, read_training
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import OfflineParser, dataset_folder, run_command
from trajectory_adacat.computing import limit_onednn_cache, use_device, use_threads
from trajectory_adacat.datasets.sequences import resolve_penalty
from trajectory_adacat.environments import MINARI_PREFIX, Dynamics, EnvironmentSource, read_options, time_limit
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.episode_results import to_result
from trajectory_adacat.evaluation.failures import FailuresWriter
from trajectory_adacat.evaluation.guarded import GuardedEnvironment
from trajectory_adacat.evaluation.planned import SUSPICIOUS_RATIO, Discounting
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.recorder import RecordConfig
from trajectory_adacat.evaluation.results import ResultsWriter, RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult, OnStep, Rollouts
from trajectory_adacat.evaluation.scores import references_in
from trajectory_adacat.evaluation.source import Source
from trajectory_adacat.evaluation.watching import BarOfEach, OneBar, View
from trajectory_adacat.extras import name_missing_extra
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.pretrained.folder import Pretrained, find_pretrained, listing
from trajectory_adacat.profiling import table_path
from trajectory_adacat.provenance import git_revision, library_versions, processor
from trajectory_adacat.recording import FOLDER
from trajectory_adacat.settings import from_nested, to_nested
from trajectory_adacat.training.config import TrainConfig
from trajectory_adacat.training.interruption import Interruption, telling_how_to_resume
from trajectory_adacat.training.likelihood import held_out_likelihood

LIST = "list"  # in place of the name of a pretrained model
LIMIT_OF_UNLIMITED = 1000  # steps, where the environment itself never cuts an episode


class PlanArguments(OfflineParser):
    """Plan in the environment with a trained model, and write the result of each rollout."""

    section: TapIgnore[str] = "plan"
    more_sections: TapIgnore[tuple[str, ...]] = ("plan_critic",)
    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)
    configs: TapIgnore[tuple[type, ...]] = (PlannerConfig,)

    dataset: str  # dataset of the model; --pretrained knows it
    pretrained: str | None = None  # plan with a model that ships, by name, or in a folder of export; list shows them
    exp_name: str = "plans/{gpt_loadpath}/H{horizon}_beam{beam_width}"  # experiment name; {flag} is filled in
    gpt_loadpath: str = "gpt/adacat_0"  # the trained model: a folder below <logbase>/<dataset>, or any path
    gpt_epoch: str = "latest"  # training step of the checkpoint, or latest
    critic: str = "auto"  # critic that scores, implies --scoring critic: a folder, or auto: critic/iql_<model's seed>
    environment: str | None = None  # a dataset's name, a Gymnasium id or module:id; by default the checkpoint's
    env_kwargs: str | None = None  # JSON object of keyword arguments of the environment; by default the checkpoint's
    dynamics: Dynamics | None = None  # D4RL's old dynamics (v2) or the simulator's own (native); by default the data's
    seed: int = 0  # seed of the first episode
    n_rollouts: int = 3  # episodes, with the seeds seed, seed + 1, ..., side by side
    max_episode_length: int | None = None  # cut episodes earlier than the environment does, or at 1000 if it never does
    compile: bool = False  # compile the blocks except attention (torch.compile); no gain on a CPU
    resume: bool = False  # leave out the rollouts whose results are in this experiment's folder already
    overwrite: bool = False  # delete this experiment's results of other settings, another checkpoint or environment
    vis_freq: int = 50  # environment steps between two updates of the returns shown
    step_timeout: float | None = None  # end a rollout whose environment takes more seconds for a step; none: wait
    watch: bool = False  # a line for each rollout in a terminal: return, planned return, speed, latest end
    threads: int = 1  # threads of each process
    processes: int = 1  # processes that share the rollouts, each with its own threads
    record: list[int] | None = None  # record the plans of these rollout seeds, or of all if none is named, for `report`
    record_every: int = 5  # environment steps between two recorded plans
    frames: bool = False  # record a picture of MuJoCo's environment at each recorded plan
    profile: bool = False  # time the third plan by operator, into <experiment>/profile

    def configured(self, parameterization: str | None) -> dict[str, Any]:
        """Return the configuration's values; those of its section "plan_critic" come last if a critic scores."""
        chosen = super().configured(parameterization)
        if "critic" in self.given:
            chosen["scoring"] = "critic"
        if (chosen | self.given).get("scoring") == "critic":
            chosen |= self.section_values("plan_critic", parameterization)
        return chosen

    def configure(self) -> None:
        """Add the flags; --dataset may be left out with --pretrained."""
        super().configure()
        self.add_argument("--dataset", required=False)

    def implied(self) -> dict[str, Any]:
        """Return the flags that --pretrained stands for; ``--pretrained list`` prints the models and exits."""
        name = self.given.get("pretrained")
        if name == LIST:
            print(listing())
            sys.exit()
        if name is not None:
            return pretrained_flags(find_pretrained(name), self.given)
        if "dataset" not in self.given:
            raise InputError("Name the --dataset of a model of yours, or a --pretrained model (list shows them).")
        return {}


def pretrained_flags(pretrained: Pretrained, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that a pretrained model stands for: its dataset, its name, its critic unless another is given.

    Raises:
        InputError: if the given flags name another model, or ask for a critic that it does not have.
    """
    for flag in ("dataset", "gpt_loadpath", "gpt_epoch"):
        if flag in given:
            raise InputError(f"--pretrained {pretrained.name} already says which model: leave out --{flag}.")
    flags = {
        "dataset": read_training(pretrained.model)["dataset"]["name"],
        "gpt_loadpath": f"pretrained/{pretrained.name}",
    }
    if given.get("scoring") == "values" or given.get("critic", "auto") != "auto":
        return flags
    if pretrained.critic is not None:
        return {**flags, "critic": str(pretrained.critic)}
    if "critic" in given or "scoring" in given:
        raise InputError(f"The pretrained model {pretrained.name} has no critic: name a --critic, or plan without one.")
    return flags


def checkpoint_folder(arguments: PlanArguments) -> Path:
    """Return the checkpoint that the flags name.

    Raises:
        InputError: if there is none.
    """
    if arguments.pretrained is not None:
        return find_pretrained(arguments.pretrained).model
    below = Path(arguments.logbase, dataset_folder(arguments.dataset), arguments.gpt_loadpath)
    folder = below if below.exists() else Path(arguments.gpt_loadpath)
    return find_checkpoint(folder if folder.exists() else below, arguments.gpt_epoch)


def parse(argv: Sequence[str] | None) -> tuple[PlanArguments, Source]:
    """Return the flags, with the configuration's values for the parameterization of the checkpoint that they name.

    Raises:
        InputError: if the checkpoint is missing or of another dataset, or a flag is wrong.
    """
    arguments = PlanArguments().parse(argv)
    folder = checkpoint_folder(arguments)
    description = read_training(folder)
    trained_on = description["dataset"]["name"]
    if trained_on != arguments.dataset:
        raise InputError(f"The checkpoint {folder} was trained on {trained_on}, not on --dataset {arguments.dataset}.")
    arguments.use_parameterization(description["parameterization"])
    source = Source.of_model(folder, description)
    if "critic" in arguments.given and arguments.arguments()["scoring"] == "values":
        raise InputError("--critic has no effect with --scoring values: leave one of them out.")
    if arguments.arguments()["scoring"] != "critic":
        return arguments, source
    return arguments, source.with_critic(critic_folder(arguments, description["train_seed"]))


def critic_folder(arguments: PlanArguments, train_seed: int) -> Path:
    """Return the critic's checkpoint that the flags name.

    Raises:
        InputError: if there is none.
    """
    below = Path(arguments.logbase, dataset_folder(arguments.dataset))
    name = f"critic/iql_{train_seed}" if arguments.critic == "auto" else arguments.critic
    folder = below / name if (below / name).exists() else Path(name)
    if not folder.exists():
        raise InputError(
            f"There is no critic in {below / name}: train one with `trajectory-adacat critic --dataset "
            f"{arguments.dataset} --seed {train_seed}`, or name another by --critic."
        )
    return find_checkpoint(folder, flag="--critic")


def record_config(arguments: PlanArguments, setting: "Setting", argv: Sequence[str] | None) -> RecordConfig | None:
    """Return what to record, by the flags; None for nothing.

    Raises:
        InputError: for a flag without effect, a seed that is not planned, or frames that cannot be encoded.
    """
    if arguments.record is None:
        idle = [f"--{name}" for name in ("record_every", "frames") if name in arguments.given]
        if idle:
            raise InputError(f"{idle[0]} has no effect without --record.")
        return None
    planned = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    others = [seed for seed in arguments.record if seed not in planned]
    if others:
        raise InputError(f"--record {others[0]} is no rollout seed here: they are {planned[0]} to {planned[-1]}.")
    if arguments.frames:
        with name_missing_extra():
            importlib.import_module("imageio_ffmpeg")
    return RecordConfig(
        folder=arguments.savepath / FOLDER,
        every=arguments.record_every,
        seeds=frozenset(arguments.record) or None,
        frames=arguments.frames,
        description=describe_recording(setting, sys.argv[1:] if argv is None else argv),
    )


def describe_recording(setting: "Setting", argv: Sequence[str]) -> dict[str, Any]:
    """Return what a recording depends on: the keys of a result, and the command."""
    description = setting.checkpoint.description
    return {
        "command": shlex.join(["trajectory-adacat", "plan", *argv]),
        "dataset": description["dataset"]["label"],
        "parameterization": description["parameterization"],
        "train_seed": description["train_seed"],
        "checkpoint": setting.checkpoint.hash,
        "step": description["step"],
        "planner": setting.planner,
        "environment": setting.environment,
        "references": None if setting.references is None else list(setting.references),
        "versions": {**library_versions(), "processor": processor()},
        "git_revision": git_revision(),
    }


def planner_config(arguments: PlanArguments, trained_discount: float) -> PlannerConfig:
    """Return how to plan, by the flags; the discount is the one of the model's values unless another is given."""
    discount = arguments.arguments()["discount"]
    return arguments.settings(PlannerConfig, discount=trained_discount if discount is None else discount)


def trained_discounting(description: dict[str, Any], planned: float) -> Discounting | None:
    """Return how a checkpoint's values were discounted; None if the plans have another discount, ``planned``.

    Raises:
        InputError: if the checkpoint's settings cannot be read, or do not say what the termination penalty was.
    """
    settings = {key: value for key, value in description["training"].items() if key != "dataset"}
    data = from_nested(TrainConfig, settings).data
    if "termination_penalty" not in settings.get("data", {}):  # training without one records null
        raise InputError("The checkpoint does not say the 'termination_penalty' of its training: train it again.")
    if planned != data.discount:
        return None
    return Discounting(data.discount, resolve_penalty(data.termination_penalty, description["dataset"]["name"]))


def choose_source(arguments: PlanArguments, dataset: dict[str, Any]) -> EnvironmentSource:
    """Return the environment to act in: by the flags, else by the checkpoint's description of its dataset.

    Raises:
        InputError: if neither names one, or ``--env_kwargs`` is not a JSON object.
    """
    options = read_options(arguments.env_kwargs)
    source = EnvironmentSource.from_record(dataset, arguments.environment, arguments.dynamics, options)
    if source is None:
        raise InputError(f"The dataset {arguments.dataset} does not say where it was collected: pass --environment.")
    is_module = ":" in source.name and not source.name.startswith(MINARI_PREFIX)
    if is_module and arguments.environment is None and not is_own(arguments):
        raise InputError(
            f"The model names an environment whose module would be imported. If you trust that module, pass "
            f"--environment {source.name}."
        )
    return source


def is_own(arguments: PlanArguments) -> bool:
    """Return whether the model lies where the train command writes: what it names was named on this machine."""
    below = Path(arguments.logbase, dataset_folder(arguments.dataset), arguments.gpt_loadpath)
    return arguments.pretrained is None and not Path(arguments.gpt_loadpath).is_absolute() and below.exists()


def episode_limit(source: EnvironmentSource, asked: int | None) -> int:
    """Return after how many steps an episode is cut: by the environment, or earlier if ``asked``."""
    with source.make() as environment:
        own = time_limit(environment)
    if asked is None:
        return LIMIT_OF_UNLIMITED if own is None else own
    return asked if own is None else min(asked, own)


def reference_returns(source: EnvironmentSource, dataset: dict[str, Any]) -> tuple[float, float] | None:
    """Return the returns that score 0 and 100 in this environment, or None where the dataset's do not apply."""
    robot = source.robot()
    own = EnvironmentSource.from_record(dataset)
    unchanged = own is not None and (source.name, source.options) == (own.name, own.options)
    recorded = dataset.get("reference_returns") if unchanged else None
    return references_in(dataset["name"], None if robot is None else robot.id, recorded)


@dataclass(frozen=True)
class Setting:
    """What the results of one call have in common.

    Attributes:
        checkpoint: the model that plans.
        planner: what defines the method, as results record it.
        environment: what defines the environment, as results record it.
        references: the returns that score 0 and 100, or None.
        likelihood: negative log-likelihood of the model on held-out data; see `held_out_likelihood`.
    """

    checkpoint: Source
    planner: dict[str, Any]
    environment: dict[str, Any]
    references: tuple[float, float] | None
    likelihood: float | None = None


def make_setting(
    source: EnvironmentSource, arguments: PlanArguments, checkpoint: Source, config: PlannerConfig
) -> Setting:
    """Return what the results have in common.

    Raises:
        InputError: if the environment cannot be made.
    """
    dataset = checkpoint.description["dataset"]
    references = reference_returns(source, dataset)
    where = source.info()
    if references is not None and source.robot() is None:  # not known by the dataset's name
        where["reference_returns"] = list(references)
    limit = episode_limit(source, arguments.max_episode_length)
    planner = {**to_nested(config), "max_episode_length": limit}
    if checkpoint.scored_by is not None:
        planner["critic"] = checkpoint.scored_by
    likelihood = held_out_likelihood(checkpoint.folder, checkpoint.description, config.use_ema)
    return Setting(checkpoint, planner, where, references, likelihood)


def result_of(episode: EpisodeResult, setting: Setting) -> RolloutResult:
    """Return an episode's result with all that it depends on."""
    source, planner, environment = setting.checkpoint, setting.planner, setting.environment
    return to_result(
        episode, source.description, source.hash, planner, environment, setting.references, setting.likelihood
    )


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
    seconds = arguments.step_timeout
    setting = make_setting(source, arguments, checkpoint, config)
    writer = ResultsWriter(arguments.savepath, setting.planner, checkpoint.hash, delete_others=arguments.overwrite)
    failures = FailuresWriter(arguments.savepath, setting.environment, setting.planner, checkpoint.hash)
    rollouts = Rollouts(
        make_planner=partial(checkpoint.make_planner, config, device, arguments.compile),
        make_environment=source.make if seconds is None else partial(GuardedEnvironment, source.make, seconds),
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
