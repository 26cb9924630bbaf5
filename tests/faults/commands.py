"""Every command with generated flags: its own main function, which stops where its work would begin."""

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args, get_origin

import pytest

from trajectory_adacat.checks import optional_inner
from trajectory_adacat.console import COMMANDS
from trajectory_adacat.scripts.density import EXPERIMENTS

SCRIPTS, PLOTTING = "trajectory_adacat.scripts", "trajectory_adacat.plotting"
ENVIRONMENT = "TrajectoryAdacatTests/Fuzzed-v0"


class Stopped(Exception):  # noqa: N818
    """The command line was accepted: the work would begin."""


def stop(*_: object, **__: object) -> None:
    """Stand in for the work of a command."""
    raise Stopped


@dataclass(frozen=True)
class Subject:
    """A command to try.

    Attributes:
        parser: module and name of its parser.
        work: modules and names of the functions that do its work.
        needed: arguments that it needs, with ``{model}``, ``{results}`` and ``{data}`` for what there is.
    """

    parser: tuple[str, str]
    work: tuple[tuple[str, str], ...] = ()
    needed: tuple[str, ...] = ()

    def flags(self) -> dict[str, Any]:
        """Return the type of each flag, by name."""
        parser = getattr(importlib.import_module(self.parser[0]), self.parser[1])()
        return {name: kind for name, kind in parser.flags.items() if f"--{name}" in parser._option_string_actions}


def _script(name: str, parser: str, *work: str, needed: str = "") -> Subject:
    module = f"{SCRIPTS}.{name}"
    return Subject((module, parser), tuple((module, function) for function in work), tuple(needed.split()))


def _plot(name: str, parser: str, *work: str, needed: str = "{results}") -> Subject:
    module = f"{PLOTTING}.{name}"
    return Subject((module, parser), tuple((module, function) for function in work), tuple(needed.split()))


DATA = "--dataset own --dataset_path {data}"
PLAN = "--dataset own --gpt_loadpath {model} --environment " + ENVIRONMENT
# By the words of the command.
SUBJECTS = {
    ("train",): _script("train", "TrainArguments", "make_model", needed=DATA),
    ("critic",): _script("critic", "CriticArguments", "Critic", needed=DATA),
    ("plan",): Subject(
        (f"{SCRIPTS}.plan_arguments", "PlanArguments"), ((f"{SCRIPTS}.plan", "run_watched"),), tuple(PLAN.split())
    ),
    ("convert",): _script("convert", "ConvertArguments", "convert", needed="{results} --dataset own"),
    ("export",): _script("export", "ExportArguments", "export", needed="--model {model} --out exported"),
    ("collect",): _script("collect", "Parser"),
    ("train-behavior",): _script("train_behavior", "Parser", "BehaviorTrainer"),
    ("table",): _plot("table", "TableParser"),
    ("plot",): _plot("plot", "PlotParser", "save_figure"),
    ("curves",): _plot("curves", "CurvesParser", "save_figure"),
    ("report",): _plot("report.command", "ReportParser", "render"),
    ("compare",): _plot("compare", "CompareParser", needed="{results} {others}"),
    ("sweep",): _script("sweep", "SweepArguments", "run_jobs", needed="--name fuzzed --datasets own"),
    ("demo",): _script("demo", "DemoArguments", "load_dataset"),
    ("density", "toy"): _script("density_toy", "ToyParser", "experiment"),
    ("density", "tabular"): _script("density_tabular", "TabularArguments", "load_table", needed="--dataset ccpp"),
    ("density", "images"): _script("density_images", "ImagesArguments", "load_mnist"),
    ("density", "audio"): _script("density_audio", "AudioArguments", "load_speech"),
    ("density", "table"): _plot("density_table", "DensityTableParser"),
    ("density", "plot"): _plot("density_plot", "DensityPlotParser", "save_figure"),
}
NAMES = {(name,) for name in COMMANDS if name != "density"} | {("density", name) for name in EXPERIMENTS}
# What a command does before its own work: no network, no simulation, and no threads that stay.
EVERYWHERE = (
    ("trajectory_adacat.datasets.official", "download"),
    ("trajectory_adacat.datasets.collected", "roll_out"),
    ("trajectory_adacat.datasets.sources", "read_minari"),
)


def stop_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command stop before its work."""
    for module, name in [*EVERYWHERE, *(work for subject in SUBJECTS.values() for work in subject.work)]:
        monkeypatch.setattr(importlib.import_module(module), name, stop)
    monkeypatch.setattr("torch.set_num_threads", lambda n: None)


NUMBERS = (*range(-2, 10), 16, 100, 10**6, 2**31, 2**63, -(2**70), 10**400)
FLOATS = (0.0, 0.5, 0.99, 1.0, -0.1, 1e-6, 1e30, 1e308, math.nan, math.inf, *NUMBERS)
TEXTS = (
    *("true", "none", "", "-1", "nan", "own", "hopper-medium-v2", "hopper-medium-collected", "minari:a/b-v0", "ccpp"),
    *("{seed}", "{", "{0}", "{seed.x}", "{nothing}", "a=b", "n_layer=1,2", "n_layer=1,x", "seed=1", "horizon=0", "a"),
    *("/dev/null/x", "/proc/nothing", "file.hdf5", "a.png", "a.svg", "a.md", ".py", "config.density", "table4", "list"),
    *('{"a": 1}', "[1]", "[" * 2000, '{"a": NaN}', "a:b", "os:system-v0", "cuda:99", "hpu", "meta", "\udcff", "~x"),
    *("--", "-", "-x", "--=", "=", "%", "é", "\n", "x" * 300, "adacat", "uniform", "mnist", "hopper", "v2", "native"),
)
DOUBT = 0.15  # probability of a value that may be of another type


def value_of(annotation: Any, random: Random) -> list[str]:
    """Return words that a flag of a type may take, most of which it accepts."""
    inner = optional_inner(annotation) or annotation
    if random.random() < DOUBT:
        return [str(random.choice(TEXTS + FLOATS))]
    if inner is bool:
        return random.choice([[], ["true"], ["false"]])
    if get_origin(inner) is Literal:
        return [str(random.choice(get_args(inner)))]
    if get_origin(inner) in (list, tuple):
        return [word for _ in range(random.randint(0, 3)) for word in value_of(get_args(inner)[0], random)]
    if inner in (int, float):
        return [str(random.choice(NUMBERS if inner is int else FLOATS))]
    choices = tuple(str(choice) for part in get_args(inner) for choice in get_args(part))
    return [str(random.choice(choices or TEXTS))]


def command_line(flags: dict[tuple[str, ...], dict[str, Any]], random: Random) -> list[str]:
    """Return the words of a command line, most of which are flags of the command with values that they accept.

    Args:
        flags: the type of each flag, by name, by command.
        random: the choices.
    """
    name = random.choice(sorted(flags))
    words = [*name, *(SUBJECTS[name].needed if random.random() > 0.5 * DOUBT else ())]
    for _ in range(random.randint(0, 6)):
        flag = random.choice([*flags[name], "help"] if random.random() < 0.2 * DOUBT else [*flags[name]] or ["no_flag"])
        value = value_of(flags[name].get(flag, str), random)
        is_joined = value and random.random() < DOUBT
        words += [f"--{flag}={value[0]}", *value[1:]] if is_joined else [f"--{flag}", *value]
    return [*words, str(random.choice(TEXTS))] if random.random() < 0.5 * DOUBT else words


def fill_in(words: list[str], places: dict[str, Path]) -> list[str]:
    """Return the words with the paths of what there is."""
    paths = {f"{{{name}}}": str(path) for name, path in places.items()}
    return [paths.get(word, word) for word in words]
