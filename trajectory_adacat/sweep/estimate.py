"""Estimate how long jobs take, from the logs of earlier ones."""

import json
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RESULTS_FILE, load_results
from trajectory_adacat.robots import MAX_EPISODE_STEPS, find_dataset
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

# Where nothing is measured: seconds on one thread of an AMD EPYC core, for the model of the preset `cpu` on hopper.
STEP_SECONDS = 0.17  # of a training, alone on the core
CRITIC_STEP_SECONDS = 0.0106  # of a critic's training, with the default settings
COLLECT_SECONDS = 20.0
START_SECONDS = 5.0  # of a process, before its first step
# Seconds for each imagined token of a plan: a constant, and one for each candidate in proportion to the size of the
# model. They fit that model (1 and 4 candidates, 10 rollouts side by side) and the paper's (64 and 256 candidates).
TOKEN_SECONDS, CANDIDATE_SECONDS = 1.05e-3, 1.0e-5
CPU_PRESET_SIZE = 12 * 3 * 64**2  # weights in the blocks
CPU_PRESET_TOKENS = 64 * 5 * 16  # of a batch
REFERENCE_DATASET_SIZE = 1e6  # transitions to which --n_epochs_ref refers

SIZE = ("n_layer", "n_head", "n_embd", "subsampled_sequence_length", "batch_size", "precision", "device")
MODEL_SIZE = ("n_layer", "n_head", "n_embd")
PLAN_SIZE = (
    *("horizon", "beam_width", "n_expand", "plan_freq", "scoring"),
    *("window", "max_context_transitions", "precision"),
)
CRITIC_SIZE = ("hidden_size", "n_hidden", "n_critics", "batch_size", "device")

Arguments = Mapping[str, Any]  # the values of a command's flags


class Estimate(NamedTuple):
    """A duration, and where it comes from."""

    seconds: float
    is_measured: bool


class Estimator:
    """Estimate durations from the trainings and rollouts in a folder of logs."""

    def __init__(self, logbase: Path) -> None:
        self._trainings = list(read_trainings(logbase, itemgetter("seconds_per_step")))
        self._rollouts = list(_read_rollouts(logbase))

    def training(self, arguments: Arguments) -> Estimate:
        """Estimate a training from those of the same size, of the same dataset and parameterization if there are any.

        Args:
            arguments: the values of the flags of ``train`` or ``critic``.
        """
        is_model = "n_layer" in arguments
        n_steps = _steps(arguments)
        size = SIZE if is_model else CRITIC_SIZE
        same_size = [
            (logged, seconds)
            for logged, seconds in self._trainings
            if all(logged.get(name) == arguments[name] for name in size) and ("n_layer" in logged) == is_model
        ]
        if not same_size:
            default = _default_step_seconds(arguments) if is_model else CRITIC_STEP_SECONDS
            return Estimate(START_SECONDS + n_steps * default, False)
        closest = max(_likeness(logged, arguments) for logged, _ in same_size)
        scaled = [
            seconds * _dimension(arguments["dataset"]) / _dimension(logged["dataset"])
            for logged, seconds in same_size
            if _likeness(logged, arguments) == closest
        ]
        return Estimate(START_SECONDS + n_steps * sum(scaled) / len(scaled), True)

    def plan(self, training: Arguments, plan: Arguments) -> Estimate:
        """Estimate a plan from rollouts of the same search with a model of the same size, nearest first.

        Episodes are as long as those were on the same dataset, and otherwise as long as they may be.

        Args:
            training: the values of the flags of the model's training.
            plan: those of ``plan``.
        """
        size = {name: training[name] for name in MODEL_SIZE} | {name: plan[name] for name in PLAN_SIZE}
        same_size = [run for run in self._rollouts if plan["device"] == "cpu" and run.size == size]
        limit = plan["max_episode_length"] or MAX_EPISODE_STEPS
        if not same_size:
            n_plans = limit / plan["plan_freq"]
            return Estimate(START_SECONDS + plan["n_rollouts"] * n_plans * _default_plan_seconds(training, plan), False)
        asked = {"dataset": plan["dataset"], "parameterization": training["parameterization"]}
        closest = max(_likeness(run.method, asked) for run in same_size)
        seconds = [
            run.seconds_per_step
            * _imagined_tokens(plan["dataset"], plan["horizon"])
            / _imagined_tokens(run.method["dataset"], plan["horizon"])
            * (min(run.length, limit) if run.method["dataset"] == plan["dataset"] else limit)
            for run in same_size
            if _likeness(run.method, asked) == closest
        ]
        return Estimate(START_SECONDS + plan["n_rollouts"] * sum(seconds) / len(seconds), True)


def _default_plan_seconds(training: Arguments, plan: Arguments) -> float:
    """Return the default of a plan, in proportion to the tokens that it imagines."""
    candidates = plan["beam_width"] * plan["n_expand"] * _model_size(training) / CPU_PRESET_SIZE
    return _imagined_tokens(plan["dataset"], plan["horizon"]) * (TOKEN_SECONDS + CANDIDATE_SECONDS * candidates)


def _imagined_tokens(dataset: str, horizon: int) -> int:
    """Return the tokens of a plan; its first observation is given."""
    named = find_dataset(dataset)
    n_observations = 11 if named is None else named.robot.observation_size
    return _dimension(dataset) * horizon - n_observations


class MeasuredRollout(NamedTuple):
    """What an earlier rollout says of the duration of others.

    Attributes:
        size: the settings of the search and of the model on which the duration depends.
        method: its dataset and parameterization.
        seconds_per_step: of the environment, with plans in between.
        length: steps of the episode.
    """

    size: Mapping[str, Any]
    method: Mapping[str, str]
    seconds_per_step: float
    length: int


def _read_rollouts(logbase: Path) -> Iterator[MeasuredRollout]:
    for path in sorted(logbase.rglob(RESULTS_FILE)) if logbase.exists() else []:
        try:
            for result in load_results([path]).values():
                model = {name: result.checkpoint["training"]["model"][name] for name in MODEL_SIZE}
                parts = {**result.planner, **result.planner["search"], **result.planner["window"]}
                size = {**parts, "scoring": result.planner["scoring"]["name"], **model}
                kept = {name: size[name] for name in (*MODEL_SIZE, *PLAN_SIZE)}
                method = {"dataset": result.dataset, "parameterization": result.parameterization}
                yield MeasuredRollout(kept, method, result.seconds_per_action, result.length)
        except (InputError, KeyError, TypeError):
            continue  # of an earlier version, or without a model


def read_trainings(
    logbase: Path, seconds_per_step: Callable[[Mapping[str, float]], float]
) -> Iterator[tuple[Arguments, float]]:
    """Yield the flags and the seconds for each step of every training that has logged some steps.

    Args:
        logbase: folder of the logs.
        seconds_per_step: reads them from the last logged line; a `KeyError` means another kind of training.
    """
    for path in sorted(logbase.rglob(METRICS_FILE)) if logbase.exists() else []:
        try:
            arguments = json.loads((path.parent / "arguments.json").read_text())
            lines = read_metrics(path.parent)
            if lines and arguments["dataset"]:
                yield arguments, float(seconds_per_step(lines[-1]))
        except (OSError, ValueError, KeyError, TypeError, InputError):
            continue  # no training's logs


def _likeness(logged: Arguments, arguments: Arguments) -> tuple[bool, bool]:
    names = ("dataset", "parameterization")
    same_dataset, same_parameterization = (logged.get(name) == arguments.get(name) for name in names)
    return same_dataset, same_parameterization


def _steps(arguments: Arguments) -> float:
    if arguments["n_steps"] is not None:
        return float(arguments["n_steps"])
    return REFERENCE_DATASET_SIZE * arguments["n_epochs_ref"] / arguments["batch_size"]


def _default_step_seconds(arguments: Arguments) -> float:
    """Return the default in proportion to the arithmetic of a step."""
    n_tokens = arguments["batch_size"] * arguments["subsampled_sequence_length"] * _dimension(arguments["dataset"])
    return STEP_SECONDS * n_tokens / CPU_PRESET_TOKENS * _model_size(arguments) / CPU_PRESET_SIZE


def _model_size(arguments: Arguments) -> float:
    return 12.0 * arguments["n_layer"] * (arguments["n_head"] * arguments["n_embd"]) ** 2


def _dimension(dataset: str) -> int:
    """Return the tokens of a transition; the default's for a dataset of unknown sizes."""
    named = find_dataset(dataset)
    return 16 if named is None else named.robot.observation_size + named.robot.action_size + 2
