"""Extract a policy from a critic by advantage-weighted regression, as IQL does from its own.

    python -m benchmarks.baselines.extract --critic logs/hopper-medium-collected/critic/iql_0

It is rolled out like a baseline (``benchmarks.baselines.evaluate``): its return says whether a critic knows as much
about actions as d3rlpy's does.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.advantages import split_of, to_transitions
from benchmarks.baselines.experiment import RECORD, experiment_folder, write_record
from benchmarks.baselines.exporting import Scaling, export
from benchmarks.baselines.networks import ACTOR, Actor
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.critic.checkpoint import LoadedCritic, load_critic
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.transitions import Transitions
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.provenance import git_revision, library_versions, processor

ALGORITHM = "critic-awr"
HIDDEN = 256
MAX_WEIGHT = 100.0
LEARNING_RATE, BATCH_SIZE = 3e-4, 256  # of IQL's actor
CHUNK = 10_000  # transitions whose weights are computed at once


class ExtractArguments(CommandParser):
    """Extract a policy from a critic by advantage-weighted regression."""

    critic: Path  # trained critic: its folder, or a checkpoint in it
    inverse_temperature: float = 3.0  # a weight is exp(inverse_temperature * (Q - V)), at most 100, in units of reward
    n_steps: int = 50_000  # gradient steps
    logbase: str = "logs"  # folder under which everything is written
    threads: int = 1  # threads
    overwrite: bool = False  # replace an earlier extraction


class GaussianActor(nn.Module):
    """A Gaussian around the tanh of a network's outputs, whose standard deviation does not depend on the state."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Linear(observation_size, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, action_size),
        )  # fmt: skip
        self.log_std = nn.Parameter(torch.zeros(action_size))

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return the log density of ``actions [B, a]``, ``[B]``, for scaled ``observations [B, o]``."""
        std = self.log_std.clamp(-5.0, 2.0).exp()
        return torch.distributions.Normal(self.mean(observations).tanh(), std).log_prob(actions).sum(-1)


@torch.no_grad()
def weights_of(critic: Critic, transitions: Transitions, inverse_temperature: float) -> Tensor:
    """Return the weight of each transition, ``[k]``, by the smallest of the Q networks."""
    parts = []
    for rows in torch.arange(len(transitions)).split(CHUNK):
        observations, actions = transitions.observations[rows], transitions.actions[rows]
        advantages = critic.q(observations, actions).amin(0) - critic.value(observations)
        parts.append((inverse_temperature * advantages).exp().clamp(max=MAX_WEIGHT))
    return torch.cat(parts)


def fit(critic: Critic, transitions: Transitions, weights: Tensor, n_steps: int) -> GaussianActor:
    """Fit an actor to the actions of weighted transitions."""
    actor = GaussianActor(critic.form.observation_size, critic.form.action_size)
    optimizer = torch.optim.Adam(actor.parameters(), LEARNING_RATE)
    observations, actions = critic.encode_observations(transitions.observations), transitions.actions.float()
    for _ in range(n_steps):
        rows = torch.randint(len(transitions), (BATCH_SIZE,))
        loss = -(weights[rows] * actor.log_prob(observations[rows], actions[rows])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return actor


def record_of(loaded: LoadedCritic, arguments: ExtractArguments, seconds: float) -> dict[str, Any]:
    """Return the record of an extraction, in the form of a baseline's training."""
    description = loaded.description
    training = {key: value for key, value in description["training"].items() if key != "dataset"}
    dataset = description["dataset"]
    names = ("name", "label", "sha256", "verified", "mean_return")
    return {
        "algorithm": ALGORITHM,
        "train_seed": description["train_seed"],
        "step": arguments.n_steps,
        "training": {
            "inverse_temperature": arguments.inverse_temperature,
            "critic": {**training, "step": description["step"]},
        },
        "dataset": {
            **{name: dataset[name] for name in names},
            "environment": load_dataset(dataset["name"]).environment,
        },
        "critic": loaded.hash,
        "seconds": seconds,
        "processor": processor(),
        "versions": library_versions(),
        "git_revision": git_revision(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Extract a policy into ``<logbase>/<dataset>/baselines/critic-awr_<seed>``.

    Raises:
        InputError: for a bad flag or critic, or if there is an earlier extraction.
    """
    arguments = ExtractArguments().parse(argv)
    check_positive(arguments, "n_steps", "threads")
    use_threads(arguments.threads)
    loaded = load_critic(arguments.critic)
    dataset, seed = loaded.description["dataset"]["name"], loaded.description["train_seed"]
    folder = experiment_folder(arguments.logbase, dataset, ALGORITHM, seed)
    if (folder / RECORD).exists() and not arguments.overwrite:
        raise InputError(f"{folder} holds an earlier extraction: pass --overwrite to replace it.")
    transitions = to_transitions(loaded, split_of(loaded)[0])
    torch.manual_seed(seed)
    started = time.perf_counter()
    weights = weights_of(loaded.critic, transitions, arguments.inverse_temperature)
    actor = fit(loaded.critic, transitions, weights, arguments.n_steps)
    seconds = time.perf_counter() - started
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    scaling = Scaling(loaded.critic.observation_mean.numpy(), loaded.critic.observation_std.numpy())
    Actor(export(actor.mean, scaling)).save(folder / ACTOR)
    write_record(folder, record_of(loaded, arguments, seconds), [folder / ACTOR])
    print(f"{arguments.n_steps} steps in {seconds:.0f} s -> {folder}")


if __name__ == "__main__":
    run_command(main)
