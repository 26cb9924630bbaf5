"""What the results of one call of the plan command have in common: method, environment, scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium

from trajectory_adacat.command_line import dataset_folder
from trajectory_adacat.datasets.sequences import resolve_penalty
from trajectory_adacat.environments import MINARI_PREFIX, EnvironmentSource, read_options, time_limit
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.episode_results import to_result
from trajectory_adacat.evaluation.guarded import GuardedEnvironment
from trajectory_adacat.evaluation.planned import Discounting
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.evaluation.scores import references_in
from trajectory_adacat.evaluation.source import Source
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.scripts.plan_arguments import PlanArguments
from trajectory_adacat.settings import from_nested, to_nested
from trajectory_adacat.training.config import TrainConfig
from trajectory_adacat.training.likelihood import held_out_likelihood

LIMIT_OF_UNLIMITED = 1000  # steps, where the environment itself never cuts an episode


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
    limit = episode_limit(environment_maker(source, arguments), arguments.max_episode_length)
    planner = {**to_nested(config), "max_episode_length": limit}
    if checkpoint.scored_by is not None:
        planner["critic"] = checkpoint.scored_by
    likelihood = held_out_likelihood(checkpoint.folder, checkpoint.description, config.use_ema)
    return Setting(checkpoint, planner, where, references, likelihood)


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


def environment_maker(source: EnvironmentSource, arguments: PlanArguments) -> Callable[[], gymnasium.Env]:
    """Return what makes an environment: in this process, or with ``--step_timeout`` in one of its own."""
    seconds = arguments.step_timeout
    return source.make if seconds is None else partial(GuardedEnvironment, source.make, seconds)


def episode_limit(make: Callable[[], gymnasium.Env], asked: int | None) -> int:
    """Return after how many steps an episode is cut: by the environment, or earlier if ``asked``."""
    with make() as environment:
        own = environment.limit if isinstance(environment, GuardedEnvironment) else time_limit(environment)
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


def result_of(episode: EpisodeResult, setting: Setting) -> RolloutResult:
    """Return an episode's result with all that it depends on."""
    source, planner, environment = setting.checkpoint, setting.planner, setting.environment
    return to_result(
        episode, source.description, source.hash, planner, environment, setting.references, setting.likelihood
    )
