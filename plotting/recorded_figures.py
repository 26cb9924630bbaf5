"""Figures of recorded rollouts: calibration, and predicted densities."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.recorded import (
    PIT_BINS,
    density_of,
    names_of_dimensions,
    pit_histograms,
    what_came,
)
from trajectory_adacat.plotting.report.experiments import RecordingSummary, by_interest, summarize_recording
from trajectory_adacat.recording import Recording, find_recordings, load_recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 4  # recordings in one figure of densities
VISIBLE = 0.002  # mass of a bin that the axis has to show


def load_summaries(paths: Iterable[Path]) -> list[RecordingSummary]:
    """Return the recordings in and below the paths.

    Raises:
        InputError: if there are none, or one cannot be read.
    """
    paths = list(paths)
    found = [file for path in paths for file in ([path] if path.is_file() else find_recordings(path))]
    if not found:
        where = ", ".join(map(str, paths))
        raise InputError(f"There are no recordings in {where}: plan with --record.")
    return [summarize_recording(file) for file in found]


def calibration_figure(recordings: Sequence[RecordingSummary]) -> "Figure":
    """Draw histograms of the predictive cdf at what happened, a panel for observations and one for rewards.

    Raises:
        InputError: if no recording has a plan.
    """
    from matplotlib.figure import Figure  # slow to import

    pits = defaultdict(list)
    for recording in recordings:
        pits[recording.group].append(recording.pit)
    histograms = pit_histograms(pits)
    if not histograms:
        raise InputError("No recording holds a plan, and so nothing about calibration.")
    figure = Figure(figsize=(3.6 * len(histograms), 3.4), layout="constrained")
    axes = figure.subplots(1, len(histograms), squeeze=False)[0]
    for axis, (part, by_method) in zip(axes, histograms.items(), strict=True):
        for i, (name, heights) in enumerate(by_method.items()):
            axis.stairs(heights, np.linspace(0.0, 1.0, PIT_BINS + 1), color=f"C{i}", label=name)
        axis.axhline(1.0, color="black", linestyle="--", linewidth=0.8)
        axis.set(title=part, xlabel="predictive cdf at what happened", xlim=(0.0, 1.0), ylim=(0.0, None))
    axes[0].set_ylabel("density (1: calibrated)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize="small")
    return figure


def densities_figure(recordings: Sequence[RecordingSummary], step: int = 0, dimensions: Sequence[str] = ()) -> "Figure":
    """Draw the predicted densities of some dimensions: a row for each of at most `MOST_ROWS` recordings.

    Args:
        recordings: of which those without bins are left out.
        step: the last plan recorded until then is drawn.
        dimensions: names; by default the first observation, the first action, and the reward.

    Raises:
        InputError: if there are no bins, or a recording has no dimension of such a name.
    """
    from matplotlib.figure import Figure  # slow to import

    loaded = {summary.label: load_recording(summary.path) for summary in by_interest(recordings)}
    drawn = {label: recording for label, recording in loaded.items() if recording.widths.size}
    if not drawn:
        raise InputError("No recording holds densities in bins.")
    drawn = dict(list(drawn.items())[:MOST_ROWS])
    names = {label: list(dimensions) or _default_dimensions(recording) for label, recording in drawn.items()}
    n_columns = max(map(len, names.values()))
    figure = Figure(figsize=(3.2 * n_columns, 2.6 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), n_columns, squeeze=False)
    for row, (label, recording) in zip(axes, drawn.items(), strict=True):
        plan = max(0, int(np.searchsorted(recording.steps, step, "right")) - 1)
        for axis, name in zip(row, names[label], strict=True):
            _draw_density(axis, recording, plan, _place(recording, name))
            axis.set_xlabel(name)
        row[0].set_ylabel("density")
        row[0].set_title(f"{label}, step {recording.steps[plan]}", fontsize="small", loc="left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _default_dimensions(recording: Recording) -> list[str]:
    names = recording.description["names"]
    return [*names["observation"][:1], *names["action"][:1], "reward"]


def _place(recording: Recording, name: str) -> int:
    names = names_of_dimensions(recording)
    if name not in names:
        raise InputError(f"There is no dimension {name!r}: they are {', '.join(names)}.")
    return names.index(name)


def _draw_density(axis: "Axes", recording: Recording, plan: int, dimension: int) -> None:
    density, real = density_of(recording, plan, dimension), what_came(recording, plan, dimension)
    axis.stairs(density.all, density.edges, fill=True, alpha=0.35, color="C0", label="all bins")
    axis.stairs(density.all, density.edges, color="C0", linewidth=0.6)
    if density.kept_mass < 1.0 - VISIBLE:
        axis.stairs(density.kept, density.edges, color="C1", label="after the cutoffs")
    visible = density.all * np.diff(density.edges) > VISIBLE
    ends = [*density.edges[:-1][visible], *density.edges[1:][visible]]
    if real is not None:
        axis.axvline(real, color="C2", linestyle=":", label="what came")
        ends.append(real)
    margin = 0.05 * (max(ends) - min(ends))
    axis.set_xlim(min(ends) - margin, max(ends) + margin)
