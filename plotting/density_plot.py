"""Draw the test likelihoods of density models: ``trajectory-adacat density plot results/density/images``."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.plotting.density_groups import DensityGroup, gather_density, published_figures
from trajectory_adacat.plotting.saving import check_ending, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (*(f"C{i}" for i in range(7)), "tab:brown", "tab:gray", "tab:olive")  # the style has seven


class DensityPlotParser(CommandParser):
    """Draw the test likelihoods: by number of outputs (the paper's Figure 4) where it varies, else by method."""

    paths: Positional[list[Path]] = [Path("logs/density")]  # density.jsonl files, or folders of such files
    out: Path = Path("density.png")  # figure to write: .png, .pdf or .svg


def main(argv: Sequence[str] | None = None) -> None:
    """Write the figure that the command line asks for."""
    arguments = DensityPlotParser().parse(argv)
    check_ending(arguments.out)
    groups = gather_density(arguments.paths)
    save_figure(lambda: density_figure(groups), arguments.out)


def density_figure(groups: Sequence[DensityGroup]) -> "Figure":
    """Draw a panel for each dataset, and one for the paper's figures where they are by number of outputs."""
    from matplotlib.figure import Figure  # slow to import

    by_dataset: dict[str, list[DensityGroup]] = {}
    for group in groups:
        by_dataset.setdefault(group.dataset, []).append(group)
    varies = {name: is_by_outputs(found) for name, found in by_dataset.items()}
    experiment = next((group.experiment for group in groups if varies[group.dataset]), None)
    published = [] if experiment is None else published_figures(experiment)
    n_panels = len(by_dataset) + bool(published)
    figure = Figure(figsize=(4.6 * n_panels, 4.0), layout="constrained")
    axes = list(figure.subplots(1, n_panels, squeeze=False)[0])
    colors = dict(zip(sorted({group.label for group in groups}), itertools.cycle(COLORS), strict=False))
    for axis, (name, found) in zip(axes, by_dataset.items(), strict=False):
        (draw_by_outputs if varies[name] else draw_by_method)(axis, found, colors)
        axis.set_title(name)
    if published:
        draw_published(axes[-1], published, colors)
    return figure


def is_by_outputs(groups: Sequence[DensityGroup]) -> bool:
    """Return whether a method has results with several numbers of outputs."""
    sizes = {(group.label, group.n_outputs) for group in groups if group.n_outputs is not None}
    return len(sizes) > len({name for name, _ in sizes})


def draw_by_outputs(axis: "Axes", groups: Sequence[DensityGroup], colors: dict[str, str]) -> None:
    """Draw a line for each method over the number of outputs, with 95 % intervals over trainings."""
    for name in sorted({group.label for group in groups}):
        found = sorted((g for g in groups if g.label == name and g.n_outputs), key=lambda group: group.n_outputs or 0)
        means = [group.summary.mean for group in found]
        ends = [group.summary.mean_interval or (group.summary.mean,) * 2 for group in found]
        lengths = [
            [m - e[0] for m, e in zip(means, ends, strict=True)],
            [e[1] - m for m, e in zip(means, ends, strict=True)],
        ]
        axis.errorbar([g.n_outputs or 0 for g in found], means, lengths, marker="o", color=colors[name], label=name)
    axis.set_xscale("log", base=2)
    axis.set(xlabel="outputs", ylabel=f"test NLL ({groups[0].results[0].unit})")
    axis.legend(fontsize="small")


def draw_by_method(axis: "Axes", groups: Sequence[DensityGroup], colors: dict[str, str]) -> None:
    """Draw a point for each method with its 95 % interval over trainings, the best one on top."""
    for place, group in enumerate(groups):
        mean = group.summary.mean
        low, high = group.summary.mean_interval or (mean, mean)
        axis.errorbar([mean], [place], xerr=[[mean - low], [high - mean]], marker="o", color=colors[group.label])
    axis.set_yticks(range(len(groups)), labels=method_names(groups), fontsize="small")
    axis.invert_yaxis()
    axis.set_xlabel(f"test NLL ({groups[0].results[0].unit}), lower is better")


def method_names(groups: Sequence[DensityGroup]) -> list[str]:
    """Return the names of methods, with the number of steps where several have one name."""
    count = Counter(group.label for group in groups)
    steps = [f", {group.count_range('n_steps')} steps" if count[group.label] > 1 else "" for group in groups]
    return [group.label + more for group, more in zip(groups, steps, strict=True)]


def draw_published(axis: "Axes", figures: Sequence[dict], colors: dict[str, str]) -> None:
    """Draw the paper's figures over the number of outputs."""
    for name in sorted({figure["form"] for figure in figures}):
        points = sorted((figure["outputs"], figure["nll"]) for figure in figures if figure["form"] == name)
        axis.plot(*zip(*points, strict=True), marker="o", linestyle="--", color=colors.get(name, "0.5"), label=name)
    axis.set_xscale("log", base=2)
    axis.set(title=f"the paper's: {figures[0]['dataset']}, its sizes", xlabel="outputs")
    axis.legend(fontsize="small")


if __name__ == "__main__":
    run_command(main)
