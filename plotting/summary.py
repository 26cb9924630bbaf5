"""Group rollout results into rows (datasets) and columns (methods); results that differ are never pooled.

A row is a data set, its status and the environment. A column is a parameterization, split where the settings of the
planner or of the training differ, the training's step, or the checkpoints of one training seed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import reference_returns
from trajectory_adacat.evaluation.statistics import (
    Improvement,
    Scores,
    Summary,
    probability_of_improvement,
    summarize,
    summarize_tasks,
)
from trajectory_adacat.plotting.frame import ENVIRONMENT, SEEDS, UNSET, to_frame
from trajectory_adacat.plotting.published import PublishedScore
from trajectory_adacat.plotting.splitting import Names, columns, split, split_data

if TYPE_CHECKING:
    import pandas as pd

OWN = "adacat"  # the parameterization that the others are compared with
FIRST_COLUMNS = ("uniform", "quantile", "adacat")  # the paper's order; others follow by name


@dataclass(frozen=True)
class Row:
    """The results on one dataset in one environment.

    Attributes:
        dataset: its name; that of the file for data loaded by a path.
        qualifiers: differences from the official data in D4RL's environment, such as ``native dynamics``.
        measure: ``score`` (normalized, 0 to 100) if every result has one and the environment is the dataset's own, else
            ``return``.
        values: the measure of each training's rollouts, by column.
        recorded: references recorded with the rollouts, in the row's measure, by name.
        published: published scores on this dataset; none if there is a qualifier.
        untrained: the columns of methods without training, whose rollouts stand in one group.
        likelihoods: negative log-likelihood of each training on held-out data, by column, where all record it.
        fallen: length of each rollout that ended in a terminal state, by column.
        promises: mean over the rollouts of planned / realized return, by column, where any rollout records both.
        planners: settings of the planner, by column.
    """

    dataset: str
    qualifiers: tuple[str, ...]
    measure: str
    values: Mapping[str, Scores]
    recorded: Mapping[str, Sequence[float]]
    published: Mapping[str, PublishedScore]
    untrained: Collection[str] = ()
    likelihoods: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fallen: Mapping[str, Sequence[int]] = field(default_factory=dict)
    promises: Mapping[str, float] = field(default_factory=dict)
    planners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The dataset's name with its qualifiers."""
        return f"{self.dataset} ({', '.join(self.qualifiers)})" if self.qualifiers else self.dataset

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The statistics of each column's scores."""
        return {column: summarize(values, column not in self.untrained) for column, values in self.values.items()}

    @cached_property
    def improvements(self) -> dict[str, Improvement]:
        """The probability that the method of `opponent` scores higher than each column, where there is one."""
        return improvements({column: [scores] for column, scores in self.values.items()})


def improvements(values: Mapping[str, Sequence[Scores]]) -> dict[str, Improvement]:
    """Return the probability that the method of `opponent` scores higher than each column, where there is one.

    Args:
        values: scores on the same tasks, by column.
    """
    opponents = {column: opponent(column, values) for column in values}
    return {
        column: probability_of_improvement(values[other], values[column])
        for column, other in opponents.items()
        if other is not None
    }


def opponent(column: str, columns: Collection[str]) -> str | None:
    """Return the column of AdaCat that a column is compared with.

    It is the one with the same text in parentheses, else the one without any, else AdaCat's only column.
    """
    parameterization, _, rest = column.partition(" ")
    ours = [name for name in columns if name.split(" ")[0] == OWN and name != column]
    same = f"{OWN} {rest}".rstrip()
    if parameterization != OWN and same in ours:
        return same
    if OWN in ours:
        return OWN
    return ours[0] if parameterization != OWN and len(ours) == 1 else None


def gather(
    results: Mapping[Any, RolloutResult], published: Sequence[PublishedScore] = (), names: Names = "settings"
) -> list[Row]:
    """Group results into rows, sorted by dataset, those without qualifiers first.

    Args:
        results: by location, whose text names a result in an error.
        published: published scores, of which each row gets those of its dataset.
        names: whether columns of one parameterization are named by the settings that differ, or by their folders.
            Columns that one folder's name would not tell apart are named by their settings.

    Raises:
        InputError: if two results are of the same run.
    """
    rows = []
    for (dataset, status, place), same_place in to_frame(results).groupby(["label", "data_status", "place"]):
        for data, same_data in split_data(same_place):
            for differing, runs in split(same_data, ENVIRONMENT):
                qualifiers = (*(text for text in (place, status) if text not in ("", "verified")), *data, *differing)
                references = [score for score in published if score.dataset == dataset and not qualifiers]
                rows.append(_row(dataset, qualifiers, runs, references, names))
    return sorted(rows, key=lambda row: (row.dataset, bool(row.qualifiers)))


def overall(rows: Sequence[Row]) -> dict[str, dict[str, Summary]]:
    """Summarize several datasets of one kind (``-v2``, ``-collected``), by kind and column.

    The mean is that of the datasets' means; the intervals are stratified by dataset. Only rows without qualifiers and
    with normalized scores count, and only columns with the same numbers of trainings and of rollouts on every dataset,
    so that all datasets have the same weight.
    """
    return {
        label: {column: summarize_tasks(tasks, column not in untrained) for column, tasks in values.items()}
        for label, (values, untrained) in _over_datasets(rows).items()
    }


def overall_improvements(rows: Sequence[Row]) -> dict[str, dict[str, Improvement]]:
    """Return what `Row.improvements` has, over the datasets of each kind; see `overall`."""
    return {label: improvements(values) for label, values in overall_values(rows).items()}


def overall_values(rows: Sequence[Row]) -> dict[str, dict[str, list[Scores]]]:
    """Return the scores on each dataset of a kind, by kind and column; see `overall`."""
    return {label: values for label, (values, _) in _over_datasets(rows).items()}


def _over_datasets(rows: Sequence[Row]) -> dict[str, tuple[dict[str, list[Scores]], set[str]]]:
    """Return the scores on each dataset of a kind by column, and the columns without training; see `overall`."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.measure == "score" and not row.qualifiers:
            kinds[row.dataset.rpartition("-")[2]].append(row)
    found = {}
    for kind, alike in kinds.items():
        values = {column: [row.values.get(column, ()) for row in alike] for column in columns_of(alike)}
        balanced = {column: tasks for column, tasks in values.items() if len({_sizes(scores) for scores in tasks}) == 1}
        if len(alike) > 1 and balanced:
            untrained = {column for row in alike for column in row.untrained}
            found[f"all -{kind} datasets"] = balanced, untrained
    return found


def _sizes(scores: Scores) -> tuple[int, ...]:
    return tuple(sorted(map(len, scores)))


def names_of(dictionaries: Iterable[Iterable[str]]) -> list[str]:
    """Return the keys of several dictionaries, in the order of their first appearance."""
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Return the columns that hold values in any row, the paper's three parameterizations first."""

    def order(column: str) -> tuple[int, str]:
        base = column.split(" ")[0]
        return (FIRST_COLUMNS.index(base) if base in FIRST_COLUMNS else len(FIRST_COLUMNS), column)

    return sorted({column for row in rows for column in row.values}, key=order)


def _row(
    dataset: str,
    qualifiers: tuple[str, ...],
    frame: "pd.DataFrame",
    published: Sequence[PublishedScore],
    names: Names,
) -> Row:
    is_elsewhere = frame["place"].iloc[0].startswith("in ")
    scored = bool(frame["normalized_score"].notna().all()) and not is_elsewhere
    values, untrained, likelihoods, fallen, promises, planners = {}, [], {}, {}, {}, {}
    for column, runs in columns(frame, names):
        _refuse_duplicates(runs)
        runs = runs.sort_values(SEEDS)
        measure = runs["normalized_score" if scored else "return_"]
        is_trained = not (runs["hash"] == UNSET).all()
        groups = measure.groupby(runs["train_seed"] if is_trained else [0] * len(runs))
        values[column] = [rollouts.tolist() for _, rollouts in groups]
        untrained += [] if is_trained else [column]
        if runs["likelihood"].notna().all():
            likelihoods[column] = runs.groupby("train_seed")["likelihood"].first().tolist()
        planners[column] = runs["planner"].iloc[0]
        fallen[column] = runs["length"][runs["terminated"].astype(bool)].tolist()
        planned, realized = (runs[name].astype(float) for name in ("planned_return", "realized_return"))
        ratios = (planned / realized)[realized > 0.0]
        if ratios.notna().any():
            promises[column] = float(ratios.mean())
    return Row(
        dataset=dataset,
        qualifiers=qualifiers,
        measure="score" if scored else "return",
        values=values,
        recorded=_recorded(frame, scored),
        published={score.method: score for score in published} if scored else {},
        untrained=untrained,
        likelihoods=likelihoods,
        fallen=fallen,
        promises=promises,
        planners=planners,
    )


def _recorded(frame: "pd.DataFrame", scored: bool) -> dict[str, list[float]]:
    """Return the references recorded with the rollouts of one row, in the row's measure."""
    low, high = 0.0, 100.0  # which leave a return as it is
    if scored:
        ends = frame["environment"].iloc[0].get("reference_returns") or reference_returns(frame["dataset"].iloc[0])
        if ends is None:  # the scores come from elsewhere, and returns beside them would mislead
            return {}
        low, high = ends
    found: dict[str, set[float]] = defaultdict(set)
    for name, value in (item for recorded in frame["references"] for item in recorded.items()):
        found[name].add(100.0 * (value - low) / (high - low) if scored else value)
    return {name: sorted(values) for name, values in found.items()}


def _refuse_duplicates(runs: "pd.DataFrame") -> None:
    for (train_seed, rollout_seed), same in runs.groupby(SEEDS):
        if len(same) > 1:
            first, second, *_ = same.itertuples()
            raise InputError(
                f"{first.location} and {second.location} hold the same run, {first.parameterization} on "
                f"{first.dataset} with train_seed {train_seed} and rollout_seed {rollout_seed} and equal settings: "
                "give only the folders of one."
            )
