"""The flags that all commands share that train something, and what they read by them."""

import importlib
from dataclasses import replace

from tap import TapIgnore

from trajectory_adacat.command_line import OfflineParser
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.datasets.episodes import cut_episodes
from trajectory_adacat.datasets.sequences import (
    EpisodeConfig,
    resolve_penalty,
)
from trajectory_adacat.extras import name_missing_extra
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.training.config import BasicRunConfig


class FolderParser(OfflineParser):
    """The flags of every command that leaves checkpoints in an experiment's folder."""

    threads: int = 1  # threads of this process
    resume: bool = False  # go on from the latest checkpoint of this experiment
    overwrite: bool = False  # delete this experiment's checkpoints and start anew


class TrainingParser(FolderParser):
    """The flags of every command that trains something on an offline dataset."""

    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)

    dataset_path: str | None = None  # read the dataset from this file in place of the cache

    def use_parameterization(self, parameterization: str | None) -> None:
        """Set every flag, and put the number in place of ``--termination_penalty auto``."""
        super().use_parameterization(parameterization)
        penalty = self.arguments()["termination_penalty"]
        setattr(self, "termination_penalty", resolve_penalty(penalty, self.dataset))  # noqa: B010


def load_episodes_of(arguments: TrainingParser, config: EpisodeConfig) -> Dataset:
    """Load the dataset, with long episodes cut where ``--cut_episodes`` asks for it."""
    dataset = load_dataset(arguments.dataset, arguments.dataset_path)
    length = config.cut_episodes
    if length is None:
        return dataset
    n_long = sum(len(episode) > length for episode in dataset.episodes)
    note = f"cut {n_long} episodes longer than {length} steps into pieces of {length}"
    return replace(dataset, episodes=cut_episodes(dataset.episodes, length), notes=[*dataset.notes, note])


def import_logging(run: BasicRunConfig) -> None:
    """Import what --wandb needs, before anything else is done.

    Raises:
        InputError: if it is missing.
    """
    if run.wandb is not None:
        with name_missing_extra():
            importlib.import_module("wandb")
