"""Draw the paper's Figures 1 to 3 from the result files of the experiments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trajectory_adacat.density.toy_data import two_gaussians

TITLES = {
    "data": "data",
    "equal_width": "equal widths",
    "adacat": "AdaCat",
    "plain": "no smoothing",
    "single": "one sample from the kernel",
    "analytic": "analytic smoothing",
    "annealed": "analytic smoothing, annealed",
}


def draw(figure: int, folder: Path) -> Path:
    """Draw one figure from its files in ``folder``, write it there as PNG, and return the path."""
    results = json.loads((folder / f"figure{figure}.json").read_text())["results"]
    if figure == 1:
        with np.load(folder / "figure1.npz") as images:
            drawn = draw_spirals(results, dict(images))
    else:
        drawn = {2: draw_mixture, 3: draw_collapse}[figure](results)
    path = folder / f"figure{figure}.png"
    drawn.savefig(path, dpi=110)
    return path


def with_error(summary: dict[str, Any]) -> str:
    """Format a mean with its standard error."""
    if summary["standard_error"] is None:
        return f"{summary['mean']:.3f}"
    return f"{summary['mean']:.3f} ± {summary['standard_error']:.3f}"


def draw_spirals(results: dict[str, Any], images: dict[str, np.ndarray]) -> Figure:
    """Draw Figure 1: the data, two densities with the same number of bins, and the likelihood by number of bins."""
    likelihoods = results["negative_log_likelihood"]
    adaptive = next(name for name in likelihoods if name.startswith("adacat"))
    uniform = {int(name.rpartition("_")[2]): name for name in likelihoods if name.startswith("uniform")}
    bins = int(adaptive.rpartition("_")[2])
    shown = ["data", uniform[min(uniform, key=lambda other: abs(other - bins))], adaptive]
    figure = Figure(figsize=(15, 4), layout="constrained")
    axes = figure.subplots(1, 4)
    brightest = np.quantile(images[adaptive], 0.995)
    for axis, name in zip(axes, shown, strict=False):
        axis.imshow(images[name], origin="lower", extent=(0, 1, 0, 1), vmin=0, vmax=brightest, cmap="magma")
        kind, _, count = name.rpartition("_")
        label = {"": "data", "adacat": f"AdaCat, {count} bins", "uniform": f"uniform, {count} bins"}[kind]
        nll = f"\nNLL {with_error(likelihoods[name])}" if name in likelihoods else "\n"
        axis.set(title=label + nll, xlabel="$x_1$", ylabel="$x_2$")
    axis = axes[3]
    counts = sorted(uniform)
    summaries = [likelihoods[uniform[count]] for count in counts]
    errors = [summary["standard_error"] or 0 for summary in summaries]
    axis.errorbar(counts, [summary["mean"] for summary in summaries], yerr=errors, marker="o", label="uniform")
    error = likelihoods[adaptive]["standard_error"] or 0
    axis.errorbar([bins], [likelihoods[adaptive]["mean"]], yerr=[error], marker="s", color="C1", label="AdaCat")
    axis.axhline(likelihoods[adaptive]["mean"], color="C1", linestyle=":")
    axis.set(title="held-out NLL\n(lower is better)", xlabel="bins", ylabel="nats")
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, labels=[str(count) for count in counts])
    axis.legend()
    return figure


def draw_target(axis: Axes) -> None:
    """Fill the area under the mixture of two Gaussians."""
    points = torch.linspace(0, 1, 2001)
    axis.fill_between(points.numpy(), two_gaussians().log_prob(points).exp().numpy(), color="0.85", label="target")


def draw_mixture(results: dict[str, Any]) -> Figure:
    """Draw Figure 2: the densities with equal and with adaptive widths, over the target."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axis, (name, curve) in zip(figure.subplots(1, 2, sharey=True), results["curves"].items(), strict=True):
        draw_target(axis)
        axis.stairs(curve["density"], curve["edges"], color="C0", label=TITLES[name])
        axis.plot(curve["edges"], np.zeros(len(curve["edges"])), "|", color="C0", markersize=14, clip_on=False)
        nll = with_error(results["negative_log_likelihood"][name])
        axis.set(title=f"{TITLES[name]}, {len(curve['density'])} bins\nNLL {nll}", xlim=(0, 1), xlabel="$x$")
        axis.legend()
    return figure


def draw_collapse(results: dict[str, Any]) -> Figure:
    """Draw Figure 3: the density at several stages of the training for each objective, over the target."""
    figure = Figure(figsize=(5 * len(results["stages"]), 4), layout="constrained")
    axes = figure.subplots(1, len(results["stages"]), sharey=True)
    for axis, (name, stages) in zip(axes, results["stages"].items(), strict=True):
        draw_target(axis)
        for place, stage in enumerate(stages, start=1):
            # The density of a collapsed bin is huge: the axis limits cut it off.
            axis.stairs(
                stage["density"],
                stage["edges"],
                color="C3" if name in ("plain", "single") else "C0",
                alpha=place / len(stages),  # earlier stages are more transparent
                label=f"step {stage['step']}",
            )
        nll = with_error(results["negative_log_likelihood"][name])
        collapsed = results["collapsed_bins"][name]["mean"]
        subtitle = f"NLL {nll}, {collapsed:.1f} of {results['bins']} bins collapsed"
        axis.set(title=f"{TITLES[name]}\n{subtitle}", xlim=(0, 1), ylim=(0, 14), xlabel="$x$")
        axis.legend()
    return figure
