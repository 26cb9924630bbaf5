"""Roll out trained baselines, and write the results beside those of `plan`.

    python -m benchmarks.baselines.evaluate --baseline logs/hopper-medium-collected/baselines/iql_0

The environment and the seeds are those of ``trajectory-adacat plan``, and so is the format of the results:
``trajectory-adacat table logs`` shows both.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.baselines.experiment import RECORD, read_record
from benchmarks.baselines.networks import ACTOR, Actor
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.environments import EnvironmentSource, check_sizes, time_limit
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.episode_results import to_result
from trajectory_adacat.evaluation.results import ResultsWriter, RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult, run_episodes
from trajectory_adacat.evaluation.scores import references_in
from trajectory_adacat.planning.planner import Planner

LIMIT_OF_UNLIMITED = 1000  # steps, as for `plan`


class EvaluateArguments(CommandParser):
    """Roll out the actors of trained baselines, and write the result of each episode into their folders."""

    baseline: list[Path]  # folders of trained baselines
    seed: int = 0  # seed of the first episode
    n_rollouts: int = 10  # episodes, with the seeds seed, seed + 1, ..., side by side
    overwrite: bool = False  # delete results of another actor in the folder


@dataclass
class ActorPlanner:
    """What `run_episodes` needs of a planner, for an actor that plans nothing."""

    actor: Actor

    def reset(self, seeds: Sequence[int]) -> None:
        """Nothing is remembered."""

    def act(self, observations: np.ndarray, environments: Sequence[int]) -> np.ndarray:
        """Return the actions ``[n, a]`` for ``observations [n, o]``."""
        return self.actor.act(observations)

    def observe(self, rewards: Sequence[float], environments: Sequence[int]) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class Setting:
    """What the results of one baseline have in common.

    Attributes:
        record: of its training.
        hash: of that record, which holds the hashes of the networks.
        source: the environment of the dataset.
        limit: steps after which an episode is cut.
    """

    record: dict[str, Any]
    hash: str
    source: EnvironmentSource
    limit: int
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def planner(self) -> dict[str, Any]:
        """The settings of the method, as results record them."""
        return {"actor": "deterministic", "max_episode_length": self.limit}


def read_setting(folder: Path) -> Setting:
    """Read what the results of a baseline have in common.

    Raises:
        InputError: if the baseline is missing or damaged, or its dataset names no environment.
    """
    record = read_record(folder)
    name = record["dataset"]["environment"]
    if name is None:
        raise InputError(f"The dataset of {folder} does not name the environment that it was collected in.")
    source = EnvironmentSource(name)
    with source.make() as environment:
        limit = time_limit(environment) or LIMIT_OF_UNLIMITED
    return Setting(record, file_sha256(folder / RECORD), source, limit, source.info())


def result_of(episode: EpisodeResult, setting: Setting) -> RolloutResult:
    """Return an episode's result with all that it depends on."""
    record, robot = setting.record, setting.source.robot()
    references = references_in(record["dataset"]["name"], None if robot is None else robot.id, None)
    description = {**record, "parameterization": record["algorithm"]}
    return to_result(episode, description, setting.hash, setting.planner, setting.environment, references)


def roll_out(folder: Path, seeds: Sequence[int], overwrite: bool) -> list[EpisodeResult]:
    """Roll out a baseline's actor, write the results to its folder, and return the episodes.

    Raises:
        InputError: if the baseline is missing or damaged, does not fit its environment, or the environment failed.
    """
    setting, actor = read_setting(folder), Actor.load(folder / ACTOR)
    writer = ResultsWriter(folder, setting.planner, setting.hash, delete_others=overwrite)
    environments = [setting.source.make() for _ in seeds]
    check_sizes(environments[0], *actor.network.sizes, "actor")
    episodes = run_episodes(cast(Planner, ActorPlanner(actor)), environments, seeds, setting.limit)
    for environment in environments:
        environment.close()
    for episode in episodes:
        if episode.error is not None:
            raise InputError(f"The environment failed with seed {episode.seed}: {episode.error}")
        writer.write(result_of(episode, setting))
    return episodes


def main(argv: Sequence[str] | None = None) -> None:
    """Write the results, and print a line for each baseline.

    Raises:
        InputError: for a bad flag or baseline.
    """
    arguments = EvaluateArguments().parse(argv)
    check_positive(arguments, "n_rollouts")
    seeds = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    for folder in arguments.baseline:
        started = time.perf_counter()
        returns = [episode.return_ for episode in roll_out(folder, seeds, arguments.overwrite)]
        spread = f" ± {np.std(returns, ddof=1) / np.sqrt(len(returns)):.0f}" if len(returns) > 1 else ""
        seconds = time.perf_counter() - started
        print(f"{folder}: mean return {np.mean(returns):.0f}{spread} over {len(returns)} rollouts, {seconds:.0f} s")


if __name__ == "__main__":
    run_command(main)
