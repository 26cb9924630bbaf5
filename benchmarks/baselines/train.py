"""Train a baseline with d3rlpy and export its networks. It runs in d3rlpy's own environment (docs/baselines.md).

.baselines/bin/python -m benchmarks.baselines.train --dataset hopper-medium-collected --algorithm iql
"""

import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np

from benchmarks.baselines.experiment import RECORD, Algorithm, experiment_folder, is_trained, write_record
from benchmarks.baselines.exporting import Scaling, export
from benchmarks.baselines.networks import ACTOR, CRITIC, ActionValues, Actor
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.sequences import Penalty, penalized_rewards, resolve_penalty, split_episodes
from trajectory_adacat.errors import InputError
from trajectory_adacat.provenance import git_revision, processor

METRICS = "metrics.jsonl"
METRICS_EVERY = 1000  # steps
CHECKED_ROWS = 256
TOLERANCE = 1e-3  # of exported networks, relative to the largest output


class BaselineArguments(CommandParser):
    """Train a baseline of d3rlpy on an offline dataset."""

    dataset: str  # dataset name, such as hopper-medium-collected
    dataset_path: str | None = None  # D4RL-format file to read instead
    algorithm: Algorithm  # method with the library's defaults, or with its paper's scaling (-paper)
    n_steps: int = 50_000  # gradient steps; the papers use 1,000,000
    seed: int = 0  # of the training, and of the split into training and held-out episodes
    holdout_fraction: float = 0.05  # share of the episodes left out of the training: those that `train` holds out
    termination_penalty: Penalty = None  # reward of a terminal step; none for the environment's; auto as for train
    logbase: str = "logs"  # folder under which everything is written
    threads: int = 1  # threads
    overwrite: bool = False  # replace an earlier training with other settings


def configs(n_steps: int) -> dict[Algorithm, Callable[[], Any]]:
    """Return what makes the library's configuration of each algorithm.

    With ``-paper``, inputs are scaled as in the paper of the method, which the library's defaults leave out:
    IQL's rewards, such that returns differ by at most 1000, and its actor's learning rate, which decays along a
    cosine (Kostrikov et al. 2021, appendix B); TD3+BC's observations, standardized (Fujimoto and Gu 2021, section 5).
    """
    algos, preprocessing = d3rlpy.algos, d3rlpy.preprocessing

    def iql_paper() -> Any:
        schedule = d3rlpy.optimizers.lr_schedulers.CosineAnnealingLRFactory(T_max=n_steps)
        return algos.IQLConfig(
            reward_scaler=preprocessing.ReturnBasedRewardScaler(multiplier=1000.0),
            actor_optim_factory=d3rlpy.optimizers.AdamFactory(lr_scheduler_factory=schedule),
        )

    return {
        "iql": algos.IQLConfig,
        "iql-paper": iql_paper,
        "td3bc": algos.TD3PlusBCConfig,
        "td3bc-paper": lambda: algos.TD3PlusBCConfig(observation_scaler=preprocessing.StandardObservationScaler()),
        "bc": algos.BCConfig,
    }


def replay_buffer(episodes: Sequence[Episode], penalty: float | None) -> Any:
    """Return the library's buffer of episodes.

    The library has no observation after the last action of an episode that did not terminate, and leaves that
    transition out.
    """
    return d3rlpy.dataset.create_infinite_replay_buffer(
        [
            d3rlpy.dataset.Episode(
                episode.observations.astype(np.float32),
                episode.actions.astype(np.float32),
                penalized_rewards(episode, penalty).astype(np.float32)[:, None],
                episode.terminated,
            )
            for episode in episodes
        ]
    )


def scaling_of(algorithm: Any) -> Scaling | None:
    """Return what the library scales observations by, or None if it does not."""
    scaler = algorithm.config.observation_scaler
    return None if scaler is None else Scaling(scaler.mean, scaler.std + scaler.eps)


def export_values(algorithm: Any) -> ActionValues | None:
    """Return the networks of Q and V, or None where there are none."""
    modules, scaling = algorithm.impl.modules, scaling_of(algorithm)
    if not hasattr(modules, "q_funcs"):
        return None
    value = getattr(modules, "value_func", None)
    q_networks = [export(module, scaling) for module in modules.q_funcs]
    return ActionValues(q_networks, None if value is None else export(value, scaling))


def check_export(algorithm: Any, episode: Episode, actor: Actor, values: ActionValues | None) -> None:
    """Check that exported networks give the library's outputs.

    Raises:
        RuntimeError: if they do not.
    """
    observations = episode.observations[:CHECKED_ROWS].astype(np.float32)
    actions = episode.actions[:CHECKED_ROWS].astype(np.float32)
    pairs = [(actor.act(observations), algorithm.predict(observations))]
    if values is not None:
        pairs.append((values.q(observations, actions), algorithm.predict_value(observations, actions)))
    for ours, theirs in pairs:
        if not np.allclose(ours, theirs, rtol=0.0, atol=TOLERANCE * max(1.0, float(np.abs(theirs).max()))):
            raise RuntimeError(f"exported networks differ from d3rlpy's by {np.abs(ours - theirs).max()}")


def fit(algorithm: Any, buffer: Any, n_steps: int, folder: Path) -> dict[str, float]:
    """Train, write the library's metrics to ``metrics.jsonl``, and return the seconds of wall and processor time."""
    started, cpu_started = time.perf_counter(), time.process_time()
    per_epoch = math.gcd(n_steps, METRICS_EVERY)  # the library drops the rest of an incomplete epoch
    epochs = algorithm.fitter(
        buffer,
        n_steps,
        per_epoch,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    with (folder / METRICS).open("w", encoding="utf-8") as file:
        for epoch, metrics in epochs:
            file.write(json.dumps({"step": epoch * per_epoch, **{k: float(v) for k, v in metrics.items()}}) + "\n")
            file.flush()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "seconds_per_step": seconds / n_steps,
        "cpu_seconds_per_step": cpu_seconds / n_steps,
    }


def dataset_record(dataset: Dataset) -> dict[str, Any]:
    """Return what results say of the dataset."""
    returns = [float(np.sum(episode.rewards, dtype=np.float64)) for episode in dataset.episodes]
    return {
        "name": dataset.name,
        "label": dataset.label,
        "sha256": dataset.sha256,
        "verified": dataset.verified,
        "environment": dataset.environment,
        "mean_return": float(np.mean(returns)),
    }


def flags_of(arguments: BaselineArguments) -> dict[str, Any]:
    """Return the settings that must be equal for a training to be the same, besides seed and number of steps."""
    names = ("algorithm", "dataset", "dataset_path", "holdout_fraction", "termination_penalty")
    return {name: getattr(arguments, name) for name in names}


def train(arguments: BaselineArguments, folder: Path) -> None:
    """Train and write the networks and the record."""
    dataset = load_dataset(arguments.dataset, arguments.dataset_path)
    training, held_out = split_episodes(dataset.episodes, arguments.holdout_fraction, arguments.seed)
    penalty = resolve_penalty(arguments.termination_penalty, dataset.name)
    buffer = replay_buffer(training, penalty)
    d3rlpy.seed(arguments.seed)
    config = configs(arguments.n_steps)[arguments.algorithm]()
    settings = config.serialize_to_dict()  # before training fits the scalers, so that seeds do not differ in it
    algorithm = config.create(device="cpu:0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    times = fit(algorithm, buffer, arguments.n_steps, folder)
    actor, values = Actor(export(algorithm.impl.policy, scaling_of(algorithm))), export_values(algorithm)
    check_export(algorithm, training[0], actor, values)
    actor.save(folder / ACTOR)
    if values is not None:
        values.save(folder / CRITIC)
    record = {
        "algorithm": arguments.algorithm,
        "train_seed": arguments.seed,
        "step": arguments.n_steps,
        "training": {**flags_of(arguments), "settings": settings},
        "dataset": dataset_record(dataset),
        "termination_penalty": penalty,
        "episodes": {"training": len(training), "held_out": len(held_out)},
        "transitions": buffer.transition_count,
        **times,
        "threads": arguments.threads,
        "processor": processor(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("d3rlpy", "torch", "numpy")},
        },
        "git_revision": git_revision(),
    }
    write_record(folder, record, [folder / ACTOR, *([] if values is None else [folder / CRITIC])])
    print(f"{arguments.n_steps} steps in {times['seconds']:.0f} s -> {folder}")


def main(argv: Sequence[str] | None = None) -> None:
    """Train a baseline, unless it is trained.

    Raises:
        InputError: for a bad flag or dataset, or if the folder holds a training with other settings.
    """
    arguments = BaselineArguments().parse(argv)
    check_positive(arguments, "n_steps", "threads")
    folder = experiment_folder(arguments.logbase, arguments.dataset, arguments.algorithm, arguments.seed)
    if is_trained(folder, flags_of(arguments), arguments.seed, arguments.n_steps):
        print(f"{folder} is trained already")
        return
    if (folder / RECORD).exists() and not arguments.overwrite:
        raise InputError(f"{folder} holds another training: pass --overwrite to replace it, or another --logbase.")
    use_threads(arguments.threads)
    train(arguments, folder)


if __name__ == "__main__":
    run_command(main)
