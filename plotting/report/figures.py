"""The report's figures, as data and layout for Plotly, each with a text that says what it shows."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trajectory_adacat.evaluation.statistics import performance_profile
from trajectory_adacat.plotting.recorded import PIT_BINS, pit_histograms
from trajectory_adacat.plotting.report.experiments import RecordingSummary
from trajectory_adacat.plotting.summary import Row, columns_of

# Okabe and Ito's colours, which colour-blind readers tell apart; lines also differ in their dashes.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
N_THRESHOLDS = 101
LONGEST_CURVE = 400  # points of a line
Lines = Sequence[Mapping[str, float]]
GROUPS = ("observation", "action", "reward", "value", "all")
CRITIC_CURVES = {  # by the name after "held_out/": title and label of the axis
    "td_error": ("held-out temporal-difference error", "root mean square"),
    "rank_correlation": ("rank correlation of values and returns", "Spearman's correlation"),
}
RUN_CURVES = {
    "learning_rate": ("Learning rate", "learning rate"),
    "seconds_per_step": ("Speed", "seconds per step"),
}


@dataclass(frozen=True)
class PlotlyFigure:
    """A figure of the page.

    Attributes:
        name: its id in the page.
        title: above it.
        text: what it shows, for readers who do not see it.
        data: Plotly's traces.
        layout: Plotly's layout, without colours of text and background.
    """

    name: str
    title: str
    text: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def style(i: int) -> dict[str, Any]:
    """Return the line of the i-th method or training."""
    return {"color": COLORS[i % len(COLORS)], "dash": DASHES[i % len(DASHES)], "width": 2}


def profile_figures(rows: Sequence[Row]) -> Iterator[PlotlyFigure]:
    """Yield the performance profile of each row: which share of rollouts exceeds a score, with 95 % bands."""
    columns = columns_of(rows)
    for number, row in enumerate(rows):
        flat = [score for scores in row.values.values() for rollouts in scores for score in rollouts]
        thresholds = np.linspace(min(0.0, min(flat)), max(flat), N_THRESHOLDS)
        traces: list[dict[str, Any]] = []
        for column in columns_of([row]):
            profile = performance_profile([row.values[column]], thresholds)
            line, x = style(columns.index(column)), _short(thresholds)
            band = {
                "x": [*x, *x[::-1]],
                "y": [*_short(profile.high), *_short(profile.low)[::-1]],
                "fill": "toself",
                "opacity": 0.25,
            }
            band |= {"line": {"width": 0}, "fillcolor": line["color"], "hoverinfo": "skip", "showlegend": False}
            traces += [
                {"type": "scatter", "mode": "lines", **band},
                {"type": "scatter", "mode": "lines", "name": column, "x": x, "y": _short(profile.shares), "line": line},
            ]
        measure = "normalized score" if row.measure == "score" else "return"
        yield PlotlyFigure(
            f"profile-{number}",
            f"Performance profile: {row.label}",
            f"Share of the rollouts on {row.label} whose {measure} exceeds the value on the horizontal axis, for "
            f"{', '.join(columns_of([row]))}. Bands are 95 % bootstrap intervals.",
            traces,
            {"xaxis": {"title": {"text": measure}}, "yaxis": {"title": {"text": "share of rollouts"}, "range": [0, 1]}},
        )


def curve_figures(trainings: Mapping[str, Lines]) -> Iterator[PlotlyFigure]:
    """Yield learning curves of models and of critics; trainings that differ in their seed alone look alike."""
    critics = {name: lines for name, lines in trainings.items() if any("q_loss" in line for line in lines)}
    models = {name: lines for name, lines in trainings.items() if name not in critics}
    for group in GROUPS:
        keys = {f"held_out_ema/{group}": "", f"held_out/{group}": ", last weights"}
        yield from _curves(
            f"curve-{group}", f"Held-out negative log-likelihood: {group}", "nats per dimension", keys, models
        )
    text = "Validation negative log-likelihood of density models"
    yield from _curves("curve-validation", text, "of each data's unit", {"validation": ""}, models)
    yield from _curves("curve-loss", "Training loss", "nats", {"loss": ""}, models)
    for key, (title, label) in RUN_CURVES.items():
        yield from _curves(f"curve-{key}", title, label, {key: ""}, models)
    for key, (title, label) in CRITIC_CURVES.items():
        yield from _curves(f"curve-critic-{key}", f"Critic: {title}", label, {f"held_out/{key}": ""}, critics)


def _curves(
    name: str,
    title: str,
    label: str,
    keys: Mapping[str, str],
    trainings: Mapping[str, Lines],
) -> Iterator[PlotlyFigure]:
    """Yield the figure of the keys, each with what it adds to a line's name, if any training has one of them."""
    traces: list[dict[str, Any]] = []
    ends: dict[str, list[float]] = defaultdict(list)  # the last values, by kind
    kinds = shorten(list(dict.fromkeys(map(kind_of, trainings))))
    for training, lines in trainings.items():
        place, kind = list(kinds).index(kind_of(training)), kinds[kind_of(training)]
        for key, suffix in keys.items():
            found = [line for line in lines if key in line]
            found = found[:: max(1, len(found) // LONGEST_CURVE)]
            if not found:
                continue
            line = style(place) | ({"width": 1, "dash": "dot"} if suffix else {})
            steps, values = [int(each["step"]) for each in found], _short([each[key] for each in found])
            shown = {"name": kind, "legendgroup": kind, "showlegend": not suffix and kind not in ends}
            trace = {"type": "scatter", "mode": "lines", "x": steps, "y": values, "line": line, **shown}
            traces.append(trace | {"hovertemplate": f"{training}{suffix}<br>step %{{x}}: %{{y:.5g}}<extra></extra>"})
            if not suffix:
                ends[kind].append(found[-1][key])
    if traces:
        text = "; ".join(f"{kind} ends at {_ends(values)}" for kind, values in ends.items())
        layout = {"xaxis": {"title": {"text": "training step"}}, "yaxis": {"title": {"text": label}}}
        yield PlotlyFigure(name, title, f"{title} ({label}): {text}.", traces, layout)


def kind_of(training: str) -> str:
    """Return the name of a training without the number of its seed at the end."""
    return re.sub(r"[_-]?\d+$", "", training) or training


def shorten(names: Sequence[str], between: str = "/") -> dict[str, str]:
    """Return each name without the parts that all of them share, as far as that tells them apart."""
    parts = {name: name.split(between) for name in names}
    shared = set.intersection(*map(set, parts.values())) if len(names) > 1 else set()
    short = {name: between.join(part for part in found if part not in shared) for name, found in parts.items()}
    return short if len(set(short.values())) == len(names) and all(short.values()) else {name: name for name in names}


def _ends(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{min(values):.4g} to {max(values):.4g} ({len(values)} trainings)"


def calibration_figures(recordings: Sequence[RecordingSummary]) -> Iterator[PlotlyFigure]:
    """Yield histograms of the predictive cdf at what happened: flat for a calibrated model."""
    pits: dict[str, list[Any]] = defaultdict(list)
    for recording in recordings:
        if len(recording.pit):
            pits[recording.group].append(recording.pit)
    names, edges = shorten(list(pits), ", "), np.linspace(0.0, 1.0, PIT_BINS + 1)
    for part, histograms in pit_histograms(pits).items():
        traces, texts = [], []
        for i, (group, heights) in enumerate(histograms.items()):
            steps = {"x": _short(edges), "y": _short([*heights, heights[-1]]), "line": style(i) | {"shape": "hv"}}
            traces.append({"type": "scatter", "mode": "lines", "name": names[group], **steps})
            texts.append(f"{names[group]}: {100.0 * heights[[0, -1]].sum() / PIT_BINS:.0f} %")
        flat = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"dash": "dash"}}
        yield PlotlyFigure(
            f"calibration-{part}",
            f"Calibration: {part}",
            f"Histogram of the predictive cdf at the next real {part}. Share in the two outermost of {PIT_BINS} bins, "
            f"10 % if calibrated: {'; '.join(texts)}.",
            traces,
            {
                "xaxis": {"title": {"text": "predictive cdf at what happened"}, "range": [0, 1]},
                "yaxis": {"title": {"text": "density (1: calibrated)"}},
                "shapes": [flat],
            },
        )


def _short(values: Any) -> list[float | None]:
    """Round to five significant digits, which no picture loses; None for what is not finite, which JSON cannot hold."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
