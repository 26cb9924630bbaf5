"""Compare a critic of this package with d3rlpy's on the same held-out transitions.

    python -m benchmarks.baselines.compare --baseline logs/hopper-medium-collected/baselines/iql_0 \\
        --critic logs/hopper-medium-collected/critic/iql_0

The critic has to be trained as the baseline was: with ``--termination_penalty none``, unless that was given to both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from benchmarks.advantages import data_of, held_out
from benchmarks.baselines.experiment import read_record
from benchmarks.baselines.networks import CRITIC, ActionValues
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.critic.checkpoint import LoadedCritic, load_critic
from trajectory_adacat.critic.transitions import Transitions
from trajectory_adacat.errors import InputError


class CompareArguments(CommandParser):
    """Correlate Q of a critic with Q of d3rlpy's on the transitions that neither was trained on."""

    baseline: Path  # folder of a trained baseline with Q networks
    critic: Path  # trained critic: its folder, or a checkpoint in it


def check_same(record: dict[str, Any], critic: LoadedCritic) -> None:
    """Check that a baseline and a critic were trained on the same transitions and for the same values.

    Raises:
        InputError: if they were not.
    """
    data = data_of(critic)
    settings = record["training"]["settings"]
    pairs = {
        "file of the dataset": (record["dataset"]["sha256"], critic.description["dataset"]["sha256"]),
        "--seed": (record["train_seed"], critic.description["train_seed"]),
        "--holdout_fraction": (record["training"]["holdout_fraction"], data.holdout_fraction),
        "--termination_penalty": (record["termination_penalty"], critic.description["termination_penalty"]),
        "--discount": (settings.get("gamma"), critic.description["discount"]),
        "--cut_episodes": (None, data.cut_episodes),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise InputError(f"The {name} of the baseline is {theirs}, of the critic {ours}: train one of them again.")


def correlations(values: ActionValues, critic: LoadedCritic, transitions: Transitions) -> dict[str, float]:
    """Return Spearman's rank correlations on transitions: of Q with Q, and with the discounted return."""
    observations, actions = transitions.observations.numpy(), transitions.actions.numpy()
    theirs = {"Q": values.q(observations, actions), "V": values.value(observations)}
    with torch.no_grad():
        ours_q = critic.critic.q(transitions.observations, transitions.actions).mean(0).numpy()
        ours_v = critic.critic.value(transitions.observations).numpy()
    returns = transitions.returns.numpy()
    found = {
        "Q with Q": spearmanr(theirs["Q"], ours_q).statistic,
        "d3rlpy's Q with return": spearmanr(theirs["Q"], returns).statistic,
        "our Q with return": spearmanr(ours_q, returns).statistic,
    }
    if theirs["V"] is not None:
        found["V with V"] = spearmanr(theirs["V"], ours_v).statistic
        found["Q - V with Q - V"] = spearmanr(theirs["Q"] - theirs["V"], ours_q - ours_v).statistic
    return {name: float(value) for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the correlations.

    Raises:
        InputError: for a bad flag, or if baseline and critic cannot be compared.
    """
    arguments = CompareArguments().parse(argv)
    use_threads(1)
    record, critic = read_record(arguments.baseline), load_critic(arguments.critic)
    check_same(record, critic)
    transitions = held_out(critic)
    values = ActionValues.load(arguments.baseline / CRITIC)
    print(f"Spearman's rank correlation on {len(transitions)} held-out transitions")
    for name, value in correlations(values, critic, transitions).items():
        print(f"| {name} | {value:.3f} |")
    means = values.q(transitions.observations.numpy(), transitions.actions.numpy()).mean()
    with torch.no_grad():
        ours = float(critic.critic.q(transitions.observations, transitions.actions).mean())
    print(
        f"mean Q: d3rlpy {means:.1f}, ours {ours:.1f}; mean discounted return {float(transitions.returns.mean()):.1f}"
    )


if __name__ == "__main__":
    run_command(main)
