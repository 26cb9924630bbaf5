"""Does a critic know which actions are better? Correlate its advantages with those that held-out episodes realized.

    python -m benchmarks.advantages --critic logs/hopper-medium-collected/critic/iql_0

It needs no rollouts, so it compares settings of a critic in seconds. docs/critic.md says how to read the table.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.critic.advantages import Advantages, advantages
from trajectory_adacat.critic.checkpoint import LoadedCritic, load_critic
from trajectory_adacat.critic.config import CriticConfig
from trajectory_adacat.critic.transitions import Batch, Transitions
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.episodes import Episode, cut_episodes
from trajectory_adacat.datasets.sequences import EpisodeConfig, Trajectories, split_episodes
from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import from_nested


class AdvantagesArguments(CommandParser):
    """Correlate critics' advantages with those that their held-out episodes realized."""

    critic: list[Path]  # trained critics: each one's folder, or a checkpoint in it
    n_steps: list[int] = [1, 20, 100]  # rewards counted before the critic's own value


def split_of(loaded: LoadedCritic) -> tuple[list[Episode], list[Episode]]:
    """Return the episodes of a critic's training, and those that it held out.

    Raises:
        InputError: if the dataset is not at hand or has changed.
    """
    data, training = data_of(loaded), loaded.description["training"]
    dataset = load_dataset(training["dataset"])
    if dataset.sha256 != loaded.description["dataset"]["sha256"]:
        raise InputError(f"The file of {dataset.label} is not the one that the critic was trained on.")
    episodes = dataset.episodes if data.cut_episodes is None else cut_episodes(dataset.episodes, data.cut_episodes)
    return split_episodes(episodes, data.holdout_fraction, loaded.description["train_seed"])


def data_of(loaded: LoadedCritic) -> EpisodeConfig:
    """Return the settings of a critic's data."""
    training = loaded.description["training"]
    return from_nested(CriticConfig, {key: value for key, value in training.items() if key != "dataset"}).data


def to_transitions(loaded: LoadedCritic, episodes: Sequence[Episode]) -> Transitions:
    """Return the transitions of episodes, with the rewards and values of a critic's training."""
    discount, penalty = data_of(loaded).discount, loaded.description["termination_penalty"]
    return Transitions.from_trajectories(Trajectories.from_episodes(episodes, discount, penalty), episodes, discount)


def held_out(loaded: LoadedCritic) -> Transitions:
    """Return the transitions that a critic's training held out.

    Raises:
        InputError: if the dataset is not at hand or has changed, or nothing was held out.
    """
    part = split_of(loaded)[1]
    if not part:
        raise InputError("The critic's training held out no episodes: train it with a --holdout_fraction.")
    return to_transitions(loaded, part)


def describe(found: Advantages) -> str:
    """Return a correlation with its standard error for independent transitions."""
    return f"{found.correlation():.3f} ± {1.0 / math.sqrt(max(len(found.predicted), 1)):.3f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table.

    Raises:
        InputError: for a bad flag, critic or dataset.
    """
    arguments = AdvantagesArguments().parse(argv)
    for n_steps in arguments.n_steps:
        if n_steps < 1:
            raise InputError(f"--n_steps must be positive, got {n_steps}.")
    use_threads(1)
    print(f"| critic | {' | '.join(f'{n_steps} steps' for n_steps in arguments.n_steps)} |")
    print("|---" * (1 + len(arguments.n_steps)) + "|", flush=True)
    for path in arguments.critic:
        loaded = load_critic(path)
        transitions = held_out(loaded)
        split = Batch.encode(loaded.critic, transitions)
        cells = [describe(advantages(loaded.critic, split, transitions.starts, n)) for n in arguments.n_steps]
        print(f"| {path} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run_command(main)
