"""Draw scores with their intervals, performance profiles, learning curves, calibration, or predicted densities.

Run ``trajectory-adacat plot logs/ --out scores.png``, or this file.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.statistics import Scores, Summary, performance_profile
from trajectory_adacat.plotting.curves import curves_figure, load_curves
from trajectory_adacat.plotting.published import load_published
from trajectory_adacat.plotting.recorded_figures import calibration_figure, densities_figure, load_summaries
from trajectory_adacat.plotting.saving import check_ending, save_figure
from trajectory_adacat.plotting.splitting import Names
from trajectory_adacat.plotting.summary import Row, columns_of, gather, names_of, overall_values
from trajectory_adacat.plotting.table import PUBLISHED_GROUPS, Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Statistic = Literal["iqm", "mean"]
Kind = Literal["bars", "profile", "curves", "calibration", "densities"]
N_THRESHOLDS = 201
N_COLORS = 7  # of the style
LINE_STYLES: tuple[Literal["--", ":", "-."], ...] = ("--", ":", "-.")
MARKERS = "Dos^vPX*<>ph"
AXIS_LABELS = {"score": "normalized score", "return": "return"}
STATISTIC_LABELS = {"iqm": "interquartile mean", "mean": "mean"}


class PlotParser(CommandParser):
    """Draw results, trainings or recordings as a figure for a paper."""

    paths: Positional[list[Path]] = [Path("logs")]  # results, logs or recordings, or folders with them
    out: Path = Path("scores.png")  # file to write: .png, .pdf or .svg
    kind: Kind = "bars"  # scores (profile: the share of rollouts above each score), learning curves, or of recordings
    names: Names = "settings"  # columns of one parameterization: by the settings that differ, or by their folders
    statistic: Statistic = "iqm"  # bars: iqm (interquartile mean) or mean, with its 95% bootstrap interval
    published: Published = "paper"  # bars: published scores on the same dataset, as marks: paper's table, all, or none
    step: int = 0  # densities: environment step; the last plan recorded until then is drawn
    dimensions: list[str] = []  # densities: names of dimensions; by default first observation, first action, reward


def main(argv: Sequence[str] | None = None) -> None:
    """Write the figure that the command line asks for."""
    arguments = PlotParser().parse(argv)
    check_ending(arguments.out)
    save_figure(partial(make_figure, arguments), arguments.out)


def make_figure(arguments: PlotParser) -> "Figure":
    """Return the figure that the flags ask for.

    Raises:
        InputError: if the paths do not hold what it shows.
    """
    if arguments.kind == "curves":
        return curves_figure(load_curves(arguments.paths))
    if arguments.kind == "calibration":
        return calibration_figure(load_summaries(arguments.paths))
    if arguments.kind == "densities":
        return densities_figure(load_summaries(arguments.paths), arguments.step, arguments.dimensions)
    published = load_published(PUBLISHED_GROUPS[arguments.published])
    rows = gather(load_results(arguments.paths), published, arguments.names)
    return profile_figure(rows) if arguments.kind == "profile" else bar_figure(rows, arguments.statistic)


def bar_figure(rows: Sequence[Row], statistic: Statistic = "iqm") -> "Figure":
    """Draw a group of bars with intervals for each dataset, scores and returns on separate axes."""
    from matplotlib.figure import Figure  # slow to import

    panels = [(measure, found) for measure in AXIS_LABELS if (found := [row for row in rows if row.measure == measure])]
    figure = Figure(figsize=(2.0 * len(rows) + 2.5 * len(panels), 4.0), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=[len(found) + 0.5 for _, found in panels])[0]
    for axis, (measure, found) in zip(axes, panels, strict=True):
        width = min(0.3, 0.9 / max(len(row.values) + len(row.published) for row in found))
        _draw_bars(axis, found, statistic, width)
        _draw_references(axis, found, width)
        axis.set_ylabel(f"{AXIS_LABELS[measure]}\n({_interval_label(found, statistic)})")
        axis.set_xticks(range(len(found)), [row.label.replace(" (", "\n(") for row in found], fontsize="small")
        axis.set_xlim(-0.5, len(found) - 0.5)
        axis.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def profile_figure(rows: Sequence[Row]) -> "Figure":
    """Draw performance profiles with 95 % bands (Agarwal et al. 2021): a panel for each dataset, and for all of a kind.

    Raises:
        InputError: if no dataset has normalized scores.
    """
    from matplotlib.figure import Figure  # slow to import

    scored = [row for row in rows if row.measure == "score"]
    if not scored:
        raise InputError("A profile needs normalized scores, and the reference returns of these datasets are unknown.")
    panels = {row.label: {column: [row.values[column]] for column in columns_of([row])} for row in scored}
    panels |= overall_values(rows)
    figure = Figure(figsize=(4.2 * len(panels), 4.0), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    styles = {column: _line_style(i) for i, column in enumerate(columns_of(scored))}
    for axis, (label, values) in zip(axes, panels.items(), strict=True):
        _draw_profiles(axis, values, styles)
        axis.set_title(label, fontsize="medium")
        axis.set_xlabel("normalized score \N{GREEK SMALL LETTER TAU}")
    axes[0].set_ylabel("share of rollouts with a score above \N{GREEK SMALL LETTER TAU}\n(95% band over trainings)")
    lines = {str(line.get_label()): line for axis in axes for line in axis.lines}
    named = [column for column in styles if column in lines]
    figure.legend([lines[name] for name in named], named, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _line_style(i: int) -> dict[str, Any]:
    """Return the colour and the dashes of the ``i``-th line: those after the style's colours are dashed."""
    return {"color": f"C{i % N_COLORS}", "linestyle": ("-", *LINE_STYLES)[i // N_COLORS % (1 + len(LINE_STYLES))]}


def _draw_profiles(axis: "Axes", values: Mapping[str, Sequence[Scores]], styles: Mapping[str, dict[str, Any]]) -> None:
    scores = [score for tasks in values.values() for task in tasks for rollouts in task for score in rollouts]
    thresholds = np.linspace(min(0.0, *scores), max(scores), N_THRESHOLDS)
    for column, tasks in values.items():
        profile = performance_profile(tasks, thresholds)
        axis.plot(thresholds, profile.shares, label=column, **styles[column])
        color = styles[column]["color"]
        axis.fill_between(thresholds, profile.low, profile.high, color=color, alpha=0.2, linewidth=0.0)


def _interval_label(rows: Sequence[Row], statistic: Statistic) -> str:
    """Name the statistic, and say what its intervals are over."""
    numbers = {summary.trainings for row in rows for summary in row.summaries.values()} - {0}
    unit = " over rollouts" if not numbers else " over trainings"
    if 1 in numbers:
        unit = " over rollouts of one training" if numbers == {1} else " over trainings, or rollouts of a single one"
    return f"{STATISTIC_LABELS[statistic]}, 95% interval{unit}"


def _draw_bars(axis: "Axes", rows: Sequence[Row], statistic: Statistic, width: float) -> None:
    for column in columns_of(rows):
        found = [(x, row) for x, row in enumerate(rows) if column in row.summaries]
        places = [_place(x, row, columns_of([row]).index(column), width) for x, row in found]
        heights, below, above = zip(*(_bar(row.summaries[column], statistic) for _, row in found), strict=True)
        axis.bar(places, heights, width, yerr=[below, above], capsize=3, label=column)


def _draw_references(axis: "Axes", rows: Sequence[Row], width: float) -> None:
    """Draw recorded references as lines across a dataset's bars, and published scores as black marks to their right."""
    for name, style in zip(names_of(row.recorded for row in rows), cycle(LINE_STYLES), strict=False):
        found = [(x, value) for x, row in enumerate(rows) for value in row.recorded.get(name, ())]
        xs, values = zip(*found, strict=True)
        left, right = [x - 0.45 for x in xs], [x + 0.45 for x in xs]
        axis.hlines(values, left, right, colors="black", linestyles=style, label=name)
    for method, marker in zip(names_of(row.published for row in rows), cycle(MARKERS), strict=False):
        marks = [(x, row) for x, row in enumerate(rows) if method in row.published]
        places = [_place(x, row, len(row.values) + list(row.published).index(method), width) for x, row in marks]
        scores = [row.published[method] for _, row in marks]
        errors = [score.standard_error or 0.0 for score in scores]
        means = [score.mean for score in scores]
        axis.errorbar(places, means, errors, fmt=f"k{marker}", markersize=4, capsize=2, label=f"{method}, published")


def _place(x: int, row: Row, slot: int, width: float) -> float:
    return x + width * (slot + 0.5 - 0.5 * (len(row.values) + len(row.published)))


def _bar(summary: Summary, statistic: Statistic) -> tuple[float, float, float]:
    """Return the height of a bar and the lengths of its interval below and above, which are 0 for a single run."""
    height, interval = (summary.mean, summary.mean_interval) if statistic == "mean" else (summary.iqm, summary.interval)
    low, high = interval or (height, height)
    return height, max(0.0, height - low), max(0.0, high - height)  # matplotlib refuses lengths below zero


if __name__ == "__main__":
    run_command(main)
