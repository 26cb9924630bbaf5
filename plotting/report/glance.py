"""What the page says first: how good each method is, how sure that is, and where it fails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trajectory_adacat.plotting.formats import number, with_interval
from trajectory_adacat.plotting.report.experiments import Material, RecordingSummary, describe_planner
from trajectory_adacat.plotting.summary import Row, columns_of
from trajectory_adacat.plotting.table import count

SUSPICIOUS = 1.15  # planned / realized return, as `plan` warns


@dataclass(frozen=True)
class Bar:
    """A mean with its interval on an axis that all methods with the same measure share, in percent of its length.

    Attributes:
        low: lower end of the interval.
        mean: the mean.
        high: upper end of the interval.
        references: the data's own values.
    """

    low: float
    mean: float
    high: float
    references: Sequence[float]


@dataclass(frozen=True)
class Glance:
    """A method on a dataset.

    Attributes:
        data: label of the dataset.
        method: name of the column in the score table.
        planner: what `describe_planner` says of it.
        measure: ``score`` or ``return``.
        value: mean with its interval.
        bar: the same as a picture.
        basis: numbers of trainings and rollouts.
        beside: recorded references.
        fallen: how many rollouts ended in a terminal state, and from which step on.
        lowest: lowest score or return.
        promise: planned / realized return; empty where it is unknown.
        is_promise_broken: whether the plans promise too much.
    """

    data: str
    method: str
    planner: str
    measure: str
    value: str
    bar: Bar
    basis: str
    beside: str
    fallen: str
    lowest: str
    promise: str
    is_promise_broken: bool


def glances(rows: Sequence[Row]) -> Iterator[Glance]:
    """Yield each method on each dataset, the highest mean of a dataset first."""
    ranges = {measure: _range([row for row in rows if row.measure == measure]) for measure in ("score", "return")}
    for row in rows:
        for column in sorted(columns_of([row]), key=lambda column: -row.summaries[column].mean):
            yield _glance(row, column, ranges[row.measure])


def _glance(row: Row, column: str, axis: tuple[float, float]) -> Glance:
    summary, promise = row.summaries[column], row.promises.get(column)
    low, high = summary.mean_interval or (summary.mean, summary.mean)
    low, mean, high = (_percent(value, axis) for value in (low, summary.mean, high))
    references = [_percent(value, axis) for values in row.recorded.values() for value in values]
    return Glance(
        data=row.label,
        method=column,
        planner=describe_planner(row.planners.get(column, {})),
        measure=row.measure,
        value=with_interval(summary.mean, summary.mean_interval),
        bar=Bar(low, mean, high, references),
        basis=count(summary),
        beside="; ".join(f"{name} {' / '.join(map(number, found))}" for name, found in row.recorded.items()),
        fallen=_fallen(row.fallen.get(column, ()), summary.n),
        lowest=number(min(value for rollouts in row.values[column] for value in rollouts)),
        promise="" if promise is None else f"{promise:.2f}",
        is_promise_broken=promise is not None and promise > SUSPICIOUS,
    )


def _range(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the ends of the axis for all means, intervals and references."""
    values = [0.0]
    for row in rows:
        values += [end for found in row.summaries.values() for end in (found.mean, *(found.mean_interval or ()))]
        values += [value for recorded in row.recorded.values() for value in recorded]
    return min(values), max(values)


def _percent(value: float, axis: tuple[float, float]) -> float:
    low, high = axis
    return round(100.0 * (value - low) / ((high - low) or 1.0), 1)


def _fallen(lengths: Sequence[int], n: int) -> str:
    return f"{len(lengths)} of {n}" + (f", from step {min(lengths)}" if lengths else "")


def caveats(rows: Sequence[Row]) -> Iterator[str]:
    """Yield sentences about what the intervals do not say."""
    summaries = [summary for row in rows for summary in row.summaries.values()]
    if any(summary.trainings == 1 and summary.mean_interval for summary in summaries):
        yield "An interval over rollouts of one training says nothing about another training, which may differ more."
    if any(summary.mean_interval is None for summary in summaries):
        yield "A single rollout has no interval."


def failures(material: Material) -> Iterator[str]:
    """Yield sentences that say where the planner fails, beside what the table of `glances` says."""
    results = list(material.results.values())
    if results:
        worst = min(results, key=lambda result: result.return_)
        name = (
            f"{worst.parameterization} on {worst.data_label}, training {worst.train_seed}, rollout {worst.rollout_seed}"
        )
        end = "ended in a terminal state" if worst.terminated else "was cut"
        score = "" if worst.normalized_score is None else f" (score {worst.normalized_score:.1f})"
        yield f"The lowest return is {worst.return_:.5g}{score}: {name}, which {end} at step {worst.length}."
    broken = [glance for glance in glances(material.rows) if glance.is_promise_broken]
    for glance in broken:
        yield (
            f"{glance.method} on {glance.data}: planned / realized return is {glance.promise} in the mean: the plans "
            "promise too much."
        )
    if not any(row.promises for row in material.rows):
        yield from _recorded_promises(material.recordings)
    yield from _surprises(material.recordings)


def _recorded_promises(recordings: Sequence[RecordingSummary]) -> Iterator[str]:
    ratios = [recording.ratio for recording in recordings if recording.ratio is not None]
    if ratios:
        mean = float(np.mean(ratios))
        judged = "the plans promise too much" if mean > SUSPICIOUS else "the plans keep what they promise"
        yield f"Planned / realized return is {mean:.3f} in the mean of {len(ratios)} recorded rollouts: {judged}."


def _surprises(recordings: Sequence[RecordingSummary]) -> Iterator[str]:
    """Yield which dimension most often leaves the central 90 % of its prediction, for each group of recordings."""
    groups: dict[tuple[str, ...], list[RecordingSummary]] = {}
    for recording in recordings:
        groups.setdefault((recording.group, *recording.description["names"]["observation"]), []).append(recording)
    for (group, *names), members in groups.items():
        pit = np.concatenate([member.pit for member in members])
        if len(pit) and pit.shape[1] == len(names) + 1:
            outside = 100.0 * ((pit < 0.05) | (pit > 0.95)).mean(0)
            worst = int(outside.argmax())
            yield (
                f"{group}: {[*names, 'reward'][worst]} is predicted worst: it leaves the central 90 % of its "
                f"prediction at {outside[worst]:.0f} % of {len(pit)} recorded steps (10 % if calibrated)."
            )
