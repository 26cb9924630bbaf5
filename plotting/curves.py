"""Draw learning curves: the held-out likelihood over the steps of one or more trainings.

Run ``trajectory-adacat curves logs/ --out curves.png``, or this file.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.saving import check_ending, save_figure
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = ("observation", "action", "reward", "value", "all")
PREFIX = "held_out_ema/"
BEHAVIOR = "behavior/action"
BEHAVIOR_LABEL = "behaviour policy"

Lines = Sequence[Mapping[str, float]]


class CurvesParser(CommandParser):
    """Draw the negative log-likelihood of held-out data (moving average of the weights) over the training steps."""

    paths: Positional[list[Path]] = [Path("logs")]  # metrics.jsonl files, or folders with such files in or below them
    out: Path = Path("curves.png")  # file to write: .png, .pdf or .svg


def main(argv: Sequence[str] | None = None) -> None:
    """Write the figure that the command line asks for.

    Raises:
        InputError: if no training is found, or the figure cannot be written.
    """
    arguments = CurvesParser().parse(argv)
    check_ending(arguments.out)
    save_figure(lambda: curves_figure(load_curves(arguments.paths)), arguments.out)


def load_curves(paths: Iterable[Path]) -> dict[str, Lines]:
    """Return the logged lines of each training that evaluates on held-out data, by its name.

    The name is the training's folder, without the parents that all of them share.

    Raises:
        InputError: if a path does not exist, or there is no such training in all of them.
    """
    paths = list(paths)
    found: dict[Path, Lines] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path} to read {METRICS_FILE} from.")
        for file in [path] if path.is_file() else sorted(path.rglob(METRICS_FILE)):
            if file.name != METRICS_FILE:
                raise InputError(f"{file} is not a {METRICS_FILE}: name one, or a folder.")
            lines = _read(file)
            if lines:  # a critic's training, or one without held-out data, has no such lines
                found[file.parent.resolve()] = lines
    if not found:
        where = ", ".join(map(str, paths))
        raise InputError(f"No {METRICS_FILE} with held-out data in {where}: train with --holdout_fraction above 0.")
    shared = os.path.commonpath([folder.parent for folder in found])
    return {os.path.relpath(folder, shared): lines for folder, lines in found.items()}


def _read(file: Path) -> Lines:
    try:
        return [line for line in read_metrics(file.parent) if f"{PREFIX}all" in line]
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}.") from error


def curves_figure(curves: Mapping[str, Lines]) -> "Figure":
    """Draw a panel for each group of dimensions, with a line for each training.

    A dashed line in the panel of the actions is what the policy that took them reaches, where the training knows it.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(3.2 * len(GROUPS), 3.6), layout="constrained")
    axes = dict(zip(GROUPS, figure.subplots(1, len(GROUPS)), strict=True))
    for group, axis in axes.items():
        for i, (name, lines) in enumerate(curves.items()):
            _draw(axis, lines, f"{PREFIX}{group}", f"C{i}", name)
        axis.set_title(group, fontsize="medium")
        axis.set_xlabel("training step")
    for i, lines in enumerate(curves.values()):
        _draw(axes["action"], lines, BEHAVIOR, f"C{i}", BEHAVIOR_LABEL, "--")
    axes[GROUPS[0]].set_ylabel("held-out negative log-likelihood\n(nats per dimension)")
    handles, labels = axes["action"].get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))  # names the dashed lines once
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _draw(axis: "Axes", lines: Lines, key: str, color: str, label: str, style: str = "-") -> None:
    """Draw one value over the steps, if any line holds it."""
    lines = [line for line in lines if key in line]
    if lines:
        steps, values = [line["step"] for line in lines], [line[key] for line in lines]
        axis.plot(steps, values, color=color, linestyle=style, label=label)


if __name__ == "__main__":
    run_command(main)
