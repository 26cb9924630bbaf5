"""Train a model on an offline dataset: ``python scripts/train.py --dataset hopper-medium-v2 --seed 0``."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tap import TapIgnore

from trajectory_adacat.checkpoint import find_checkpoint, read_tensors, read_training
from trajectory_adacat.checks import check_can_create
from trajectory_adacat.command_line import run_command
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.datasets import Dataset
from trajectory_adacat.datasets.likelihood import behavior_action_nll
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import (
    EpisodeConfig,
    SequenceDataset,
    Trajectories,
    resolve_penalty,
    split_episodes,
    terminal_rewards,
)
from trajectory_adacat.environments import EnvironmentSource, check_sizes, read_options
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.profiling import StepProfile, table_path
from trajectory_adacat.provenance import processor
from trajectory_adacat.scripts.training_arguments import TrainingParser, import_logging, load_episodes_of
from trajectory_adacat.scripts.training_folder import (
    check_not_past_end,
    check_same_method,
    old_checkpoints,
    start_folder,
)
from trajectory_adacat.settings import to_nested
from trajectory_adacat.training.config import RunConfig, TrainConfig
from trajectory_adacat.training.distributed import World, process_group
from trajectory_adacat.training.interruption import telling_how_to_resume
from trajectory_adacat.training.lock import locked, refuse_if_locked
from trajectory_adacat.training.trainer import Trainer
from trajectory_adacat.transition import TransitionSpec


class TrainArguments(TrainingParser):
    """Train a Trajectory Transformer with AdaCat outputs, or with those of a baseline."""

    section: TapIgnore[str] = "train"
    configs: TapIgnore[tuple[type, ...]] = (TrainConfig, RunConfig)

    environment: str | None = None  # environment to plan in later: a Gymnasium id or module:id; by default the data's
    env_kwargs: str | None = None  # JSON object of keyword arguments of that environment
    exp_name: str = "gpt/{parameterization}_{seed}"  # experiment name; {flag} stands for another flag's value
    profile: bool = False  # time the first steps by operator, into <experiment>/profile


def make_model(config: TrainConfig, spec: TransitionSpec, tokens: torch.Tensor, seed: int) -> GPT:
    """Make the model and set its statistics from the training tokens ``[n, D]``."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig.sized(config.model, spec, config.data.subsampled_sequence_length))
    return model.fit_statistics(tokens)


def environment_record(arguments: TrainArguments, dataset: Dataset) -> dict[str, Any]:
    """Return what the checkpoints say of the environment; one that flags describe is made once, to be sure of it.

    Raises:
        InputError: if such an environment cannot be made, or its sizes are not those of the data.
    """
    options = read_options(arguments.env_kwargs)
    recorded: dict[str, Any] = {"environment": dataset.environment}
    if arguments.resume:
        recorded = read_training(find_checkpoint(arguments.savepath))["dataset"]
    source = EnvironmentSource.from_record(recorded, arguments.environment, None, options)
    if source is None:
        if options is not None:
            raise InputError("--env_kwargs needs an --environment: the dataset does not name one.")
        return {"environment": None}
    if arguments.environment is not None or options is not None:
        with source.make() as environment:
            first = dataset.episodes[0]
            check_sizes(environment, first.observations.shape[1], first.actions.shape[1], "dataset")
    return source.record()


def describe(
    config: TrainConfig,
    run: RunConfig,
    dataset: Dataset,
    environment: dict[str, Any],
    behavior: float | None,
    device: torch.device,
) -> dict[str, Any]:
    """Return the entries of a checkpoint's description that record its training.

    Args:
        config: the settings.
        run: how the training runs.
        dataset: its data.
        environment: what `environment_record` returned.
        behavior: what `behavior_action_nll` returned for the held-out episodes.
        device: of the training.
    """
    return {
        "parameterization": config.model.head.name,
        "discount": config.data.discount,
        "train_seed": run.seed,
        "processor": processor(device),
        "dataset": {**dataset_record(config.data, dataset), **environment, "behavior_action_nll": behavior},
        "training": {**to_nested(config), "dataset": dataset.name},
    }


def dataset_record(config: EpisodeConfig, dataset: Dataset) -> dict[str, Any]:
    """Return what a checkpoint's description says of the dataset, without its environment."""
    returns = [float(np.sum(episode.rewards, dtype=np.float64)) for episode in dataset.episodes]
    return {
        "name": dataset.name,
        "label": dataset.label,
        "sha256": dataset.sha256,
        "verified": dataset.verified,
        "mean_return": float(np.mean(returns)),
        "notes": dataset.notes,
        "penalized_terminals": penalized_terminals(config, dataset),
    }


def penalized_terminals(config: EpisodeConfig, dataset: Dataset) -> dict[str, float] | None:
    """Return how many terminal rewards the penalty replaces, and their mean before; None where it replaces none."""
    rewards, penalty = terminal_rewards(dataset.episodes), resolve_penalty(config.termination_penalty, dataset.name)
    if penalty is None or len(rewards) == 0:
        return None
    return {"count": len(rewards), "mean_reward": float(np.mean(rewards)), "penalty": penalty}


def resume(trainer: Trainer, checkpoint: Path) -> None:
    """Load a checkpoint's whole state into the trainer.

    Raises:
        InputError: if it is damaged, or was trained on other data or with other settings.
    """
    description = read_training(checkpoint)
    check_same_method(TrainConfig, checkpoint, description, trainer.description)
    check_not_past_end(checkpoint, description["step"], trainer.n_steps)
    names = ("model.safetensors", "ema.safetensors", "training.safetensors")
    weights, ema, state = (read_tensors(checkpoint, name, description) for name in names)
    trainer.load_state(description["step"], weights, ema, state, description)


def make_trainer(
    config: TrainConfig, arguments: TrainArguments, dataset: Dataset, device: torch.device, world: World
) -> tuple[Trainer, int]:
    """Return the trainer of this process, before its first step, and the number of episodes too short for it.

    Raises:
        InputError: if the data do not suffice for what is asked of them.
    """
    data, run = config.data, arguments.settings(RunConfig)
    spec = TransitionSpec(dataset.episodes[0].observations.shape[1], dataset.episodes[0].actions.shape[1])
    parts = split_episodes(dataset.episodes, data.holdout_fraction, run.seed)
    penalty = resolve_penalty(data.termination_penalty, dataset.name)
    flat = [Trajectories.from_episodes(part, data.discount, penalty) for part in parts if part]
    normalizer = MinMaxNormalizer.fit(flat[0].transitions)
    length = data.subsampled_sequence_length
    windows = [SequenceDataset(part, normalizer, spec, length, data.step, device) for part in flat]
    behavior = behavior_action_nll(parts[1], normalizer, spec)
    trainer = Trainer(
        make_model(config, spec, windows[0].tokens, run.seed).to(device),
        windows[0],
        windows[1] if len(windows) > 1 else None,
        normalizer,
        config.loss,
        config.trainer,
        run,
        arguments.savepath,
        describe(config, run, dataset, environment_record(arguments, dataset), behavior, device),
        arguments.verbose,
        world,
        {} if behavior is None else {"behavior/action": behavior},
    )
    return trainer, sum(part.n_skipped for part in flat)


def main(argv: Sequence[str] | None = None) -> None:
    """Train and leave checkpoints and logs in ``<logbase>/<dataset>/<exp_name>``, in all processes of torchrun."""
    with process_group() as world:
        with world.raise_everywhere():
            arguments = TrainArguments().parse(argv)
            config = arguments.settings(TrainConfig)
            import_logging(arguments.settings(RunConfig))
            use_threads(arguments.threads)
            device = use_device(world.device(arguments.device))
            if device.type == "cuda" and device.index is not None:
                torch.cuda.set_device(device)  # where the processes' messages go
            check_can_create(arguments.savepath, "--logbase")
            refuse_if_locked(arguments.savepath)
            old_checkpoints(arguments)
            checkpoint = find_checkpoint(arguments.savepath) if arguments.resume else None
        dataset = world.rank0_first(lambda: load_episodes_of(arguments, config.data))
        with world.raise_everywhere():
            trainer, n_skipped = make_trainer(config, arguments, dataset, device, world)
            if checkpoint is not None:
                resume(trainer, checkpoint)
        with ExitStack() as stack:
            stack.enter_context(telling_how_to_resume("train", argv))
            with world.raise_everywhere():
                if world.is_rank0:
                    stack.enter_context(locked(arguments.savepath))
                    start_folder(arguments, checkpoint)
            if arguments.verbose and world.is_rank0:
                report(dataset, trainer, n_skipped, arguments)
            if arguments.profile and world.is_rank0:
                with StepProfile(arguments.savepath / "profile", device=device) as profile:
                    trainer.train(profile.step)
                if arguments.verbose and table_path(profile.folder).exists():
                    print(f"profile of the first steps -> {profile.folder}")
            else:
                trainer.train()


def report(dataset: Dataset, trainer: Trainer, n_skipped: int, arguments: TrainArguments) -> None:
    """Print the sizes of the data and the model."""
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    held_out = trainer.held_out
    print(f"{dataset.label}: {len(dataset.episodes)} episodes, {len(trainer.training)} training windows", end="")
    print(f", {len(held_out)} held out" if held_out is not None else "", end="; ")
    print(f"{trainer.model.config.head.name} model of {n_parameters:,} parameters -> {arguments.savepath}")
    report_data(dataset, trainer.description, n_skipped)
    if held_out is not None and held_out.n_clamped:
        print(f"clamped {held_out.n_clamped} held-out values outside the training data's bounds")
    behavior = trainer.description["dataset"]["behavior_action_nll"]
    if behavior is not None:
        print(f"negative log-likelihood of the held-out actions under the policy that took them: {behavior:.4f}")
    if arguments.device == "cpu" and trainer.model.config.attn_pdrop > 0:
        print("dropout of the attention weights more than doubles a step's time on a CPU: --attn_pdrop 0 is without")


def report_data(dataset: Dataset, description: Mapping[str, Any], n_skipped: int) -> None:
    """Print what was found in the data and made of them."""
    for note in dataset.notes:
        print(note)
    penalized = description["dataset"]["penalized_terminals"]
    if penalized is not None:
        print(
            f"termination penalty: replaced the rewards of {penalized['count']} terminal steps (mean "
            f"{penalized['mean_reward']:.4g}) by {penalized['penalty']:g}; --termination_penalty none keeps them"
        )
    if n_skipped:
        print(f"skipped {n_skipped} episodes shorter than two steps")


if __name__ == "__main__":
    run_command(main)
