"""Train a critic on an offline dataset: ``python scripts/critic.py --dataset hopper-medium-v2 --seed 0``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tap import TapIgnore

from trajectory_adacat.checkpoint import find_checkpoint, read_tensors
from trajectory_adacat.checks import check_can_create
from trajectory_adacat.command_line import run_command
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.critic.config import CriticConfig, CriticForm
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.trainer import CriticTrainer
from trajectory_adacat.critic.transitions import Transitions
from trajectory_adacat.datasets import Dataset
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Trajectories, resolve_penalty, split_episodes
from trajectory_adacat.provenance import processor
from trajectory_adacat.scripts.train import dataset_record, report_data
from trajectory_adacat.scripts.training_arguments import TrainingParser, import_logging, load_episodes_of
from trajectory_adacat.scripts.training_folder import (
    check_not_past_end,
    check_same_method,
    old_checkpoints,
    start_folder,
)
from trajectory_adacat.settings import to_nested
from trajectory_adacat.training.config import OfflineRunConfig
from trajectory_adacat.training.interruption import telling_how_to_resume
from trajectory_adacat.training.lock import locked, refuse_if_locked


class CriticArguments(TrainingParser):
    """Train a critic, which values observations and actions, by implicit Q-learning."""

    section: TapIgnore[str] = "critic"
    configs: TapIgnore[tuple[type, ...]] = (CriticConfig, OfflineRunConfig)

    exp_name: str = "critic/iql_{seed}"  # experiment name; {flag} stands for another flag's value


def describe(
    config: CriticConfig, run: OfflineRunConfig, dataset: Dataset, normalizer: MinMaxNormalizer, device: torch.device
) -> dict[str, Any]:
    """Return the entries of a checkpoint's description that record its training."""
    return {
        "discount": config.data.discount,
        "termination_penalty": resolve_penalty(config.data.termination_penalty, dataset.name),
        "train_seed": run.seed,
        "processor": processor(device),
        "normalizer": {name: bounds.tolist() for name, bounds in normalizer.state_dict().items()},
        "dataset": dataset_record(config.data, dataset),
        "training": {**to_nested(config), "dataset": dataset.name},
    }


def make_trainer(
    config: CriticConfig, arguments: CriticArguments, dataset: Dataset, device: torch.device
) -> tuple[CriticTrainer, list[Transitions], int]:
    """Return the trainer before its first step, the splits' transitions, and the number of episodes too short for it.

    Raises:
        InputError: if the data do not suffice for what is asked of them.
    """
    data, run = config.data, arguments.settings(OfflineRunConfig)
    parts = [part for part in split_episodes(dataset.episodes, data.holdout_fraction, run.seed) if part]
    penalty = resolve_penalty(data.termination_penalty, dataset.name)
    flat = [Trajectories.from_episodes(part, data.discount, penalty) for part in parts]
    normalizer = MinMaxNormalizer.fit(flat[0].transitions)
    splits = [
        Transitions.from_trajectories(trajectories, part, data.discount)
        for trajectories, part in zip(flat, parts, strict=True)
    ]
    torch.manual_seed(run.seed)
    form = CriticForm(
        observation_size=splits[0].observations.shape[1],
        action_size=splits[0].actions.shape[1],
        networks=config.networks,
    )
    critic = Critic(form).set_statistics(splits[0].observations, normalizer, splits[0].returns).to(device)
    trainer = CriticTrainer(
        critic,
        splits[0],
        splits[1] if len(splits) > 1 else None,
        config,
        run,
        arguments.savepath,
        describe(config, run, dataset, normalizer, device),
        arguments.verbose,
    )
    return trainer, splits, sum(part.n_skipped for part in flat)


def resume(trainer: CriticTrainer, checkpoint: Path) -> None:
    """Load a checkpoint's whole state into the trainer.

    Raises:
        InputError: if it is damaged or a model's, or was trained on other data or with other settings.
    """
    description = read_critic(checkpoint)
    check_same_method(CriticConfig, checkpoint, description, trainer.description)
    check_not_past_end(checkpoint, description["step"], trainer.config.n_steps)
    names = ("critic.safetensors", "training.safetensors")
    weights, state = (read_tensors(checkpoint, name, description) for name in names)
    trainer.load_state(description["step"], weights, state, description)


def report(dataset: Dataset, trainer: CriticTrainer, splits: list[Transitions], n_skipped: int) -> None:
    """Print the sizes of the data and the critic."""
    n_parameters = sum(parameter.numel() for parameter in trainer.critic.parameters())
    print(f"{dataset.label}: {len(dataset.episodes)} episodes, {len(splits[0])} training transitions", end="")
    print(f", {len(splits[1])} held out" if len(splits) > 1 else "", end="; ")
    print(f"critic of {n_parameters:,} parameters -> {trainer.folder}")
    report_data(dataset, trainer.description, n_skipped)
    n_unknown = sum(split.n_unknown for split in splits)
    if n_unknown:
        print(f"left out {n_unknown} last transitions of episodes without a final observation")


def main(argv: Sequence[str] | None = None) -> None:
    """Train and leave checkpoints and logs in ``<logbase>/<dataset>/<exp_name>``."""
    arguments = CriticArguments().parse(argv)
    config = arguments.settings(CriticConfig)
    import_logging(arguments.settings(OfflineRunConfig))
    use_threads(arguments.threads)
    device = use_device(arguments.device)
    check_can_create(arguments.savepath, "--logbase")
    refuse_if_locked(arguments.savepath)
    old_checkpoints(arguments)
    checkpoint = find_checkpoint(arguments.savepath, flag="--exp_name") if arguments.resume else None
    dataset = load_episodes_of(arguments, config.data)
    trainer, splits, n_skipped = make_trainer(config, arguments, dataset, device)
    if checkpoint is not None:
        resume(trainer, checkpoint)
    with locked(arguments.savepath):
        start_folder(arguments, checkpoint)
        if arguments.verbose:
            report(dataset, trainer, splits, n_skipped)
        with telling_how_to_resume("critic", argv):
            trainer.train()


if __name__ == "__main__":
    run_command(main)
