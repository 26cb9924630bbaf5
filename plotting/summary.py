"""Group rollout results into rows (datasets) and columns (methods); results that differ are never pooled.

A row is a dataset, its environment and the status of its data. A column is a parameterization, split where the settings
of the planner or of the training differ.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.evaluation.statistics import Summary, interquartile_mean, summarize
from trajectory_adacat.plotting.published import PublishedScore

if TYPE_CHECKING:
    import pandas as pd

FIRST_COLUMNS = ("uniform", "quantile", "adacat")  # the paper's order; others follow by name
SEEDS = ["train_seed", "rollout_seed"]
# Prefixes of the frame's columns of settings. Planner and training have settings of the same names.
ENVIRONMENT, METHOD, TRAINING = "environment.", "method.", "method.training "
UNSET = "unset"  # no JSON text


@dataclass(frozen=True)
class Row:
    """The results on one dataset in one environment.

    Attributes:
        dataset: its name.
        qualifiers: differences from the official data in D4RL's environment, such as ``native dynamics``.
        measure: ``score`` (normalized, 0 to 100) if every result has one, else ``return``.
        values: the measure of each pooled run, by column.
        recorded: references recorded with the rollouts, in the row's measure, by name.
        published: published scores on this dataset; none if there is a qualifier.
    """

    dataset: str
    qualifiers: tuple[str, ...]
    measure: str
    values: Mapping[str, Sequence[float]]
    recorded: Mapping[str, Sequence[float]]
    published: Mapping[str, PublishedScore]

    @property
    def label(self) -> str:
        """The dataset's name with its qualifiers."""
        return f"{self.dataset} ({', '.join(self.qualifiers)})" if self.qualifiers else self.dataset

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The statistics of each column's runs."""
        return {column: summarize(values) for column, values in self.values.items()}


def gather(results: Mapping[Any, RolloutResult], published: Sequence[PublishedScore] = ()) -> list[Row]:
    """Group results into rows, sorted by dataset, those without qualifiers first.

    Args:
        results: by location, whose text names a result in an error.
        published: published scores, of which each row gets those of its dataset.

    Raises:
        InputError: if two results are of the same run.
    """
    frame = to_frame(results)
    rows = []
    for (dataset, status, dynamics), same_status in frame.groupby(["dataset", "data_status", "dynamics"]):
        for differing, runs in _split(same_status, ENVIRONMENT):
            qualifiers = (*_qualifiers(status, dynamics), *differing)
            references = [score for score in published if score.dataset == dataset and not qualifiers]
            rows.append(_row(dataset, qualifiers, runs, references))
    return sorted(rows, key=lambda row: (row.dataset, bool(row.qualifiers)))


def to_frame(results: Mapping[Any, RolloutResult]) -> "pd.DataFrame":
    """Return a frame with one row for each result, its attributes and its settings as columns.

    The settings are ``environment.*``, ``method.*`` (of the planner) and ``method.training *``, nested names joined by
    dots. They are JSON texts, so that 1, 1.0 and true differ; a setting that a result does not have is "unset".
    """
    import pandas as pd  # slow to import

    frame = pd.DataFrame({"location": str(location), **vars(result)} for location, result in results.items())
    frame["dynamics"] = [result.environment["dynamics"] for result in results.values()]
    settings = pd.DataFrame(
        {
            **_flatten(result.environment, ENVIRONMENT),
            **_flatten(result.planner, METHOD),
            **_flatten(result.checkpoint.get("training", {}), TRAINING),
        }
        for result in results.values()
    )
    return frame.join(settings.fillna(dict.fromkeys(settings, UNSET)))


def overall(rows: Sequence[Row]) -> dict[str, dict[str, Summary]]:
    """Summarize several datasets of one kind (``-v2``, ``-collected``), by kind and column.

    The mean is that of the datasets' means; the IQM and its interval are stratified by dataset. Only rows without
    qualifiers and with normalized scores count, and only columns with the same number of runs on every dataset, as
    stratified resampling requires.
    """
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.measure == "score" and not row.qualifiers:
            kinds[row.dataset.rpartition("-")[2]].append(row)
    summaries = {f"all -{kind} datasets": _over_datasets(alike) for kind, alike in kinds.items() if len(alike) > 1}
    return {label: by_column for label, by_column in summaries.items() if by_column}


def _over_datasets(rows: Sequence[Row]) -> dict[str, Summary]:
    summaries = {}
    for column in columns_of(rows):
        if len({len(row.values.get(column, ())) for row in rows}) == 1:
            scores = np.array([row.values[column] for row in rows], dtype=np.float64).T  # [runs, datasets]
            errors = [row.summaries[column].standard_error for row in rows]
            error = None if None in errors else float(np.linalg.norm(np.array(errors, dtype=np.float64)) / len(rows))
            summaries[column] = Summary(float(scores.mean()), error, scores.size, *interquartile_mean(scores))
    return summaries


def names_of(dictionaries: Iterable[Iterable[str]]) -> list[str]:
    """Return the keys of several dictionaries, in the order of their first appearance."""
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Return the columns that hold values in any row, the paper's three parameterizations first."""

    def order(column: str) -> tuple[int, str]:
        base = column.split(" ")[0]
        return (FIRST_COLUMNS.index(base) if base in FIRST_COLUMNS else len(FIRST_COLUMNS), column)

    return sorted({column for row in rows for column in row.values}, key=order)


def _flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in settings.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": json.dumps(value)}
    return flat


def _split(frame: "pd.DataFrame", prefix: str) -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
    """Split results by the settings with a prefix; return the settings in which the parts differ with each part."""
    differing = [column for column in sorted(frame) if column.startswith(prefix) and frame[column].nunique() > 1]
    if not differing:
        return [((), frame)]
    parts = list(frame.groupby(differing))
    labels = [tuple(map(_label, differing, texts)) for texts, _ in parts]
    if len(set(labels)) < len(labels):  # the values 15 and "15" are printed alike, their JSON texts are not
        labels = [
            tuple(f"{_name(column)}={text}" for column, text in zip(differing, texts, strict=True))
            for texts, _ in parts
        ]
    return [(label, part) for label, (_, part) in zip(labels, parts, strict=True)]


def _label(column: str, text: str) -> str:
    return f"{_name(column)}={text if text == UNSET else json.loads(text)}"


def _name(column: str) -> str:
    """Return the last part of a setting's name, and whether it is one of the training."""
    if column.startswith(TRAINING):
        return f"training {column.removeprefix(TRAINING).rpartition('.')[2]}"
    return column.rpartition(".")[2]


def _row(dataset: str, qualifiers: tuple[str, ...], frame: "pd.DataFrame", published: Sequence[PublishedScore]) -> Row:
    scored = bool(frame["normalized_score"].notna().all())
    values = {}
    for parameterization, alike in frame.groupby("parameterization", sort=False):
        for differing, runs in _split(alike, METHOD):
            _refuse_duplicates(runs)
            column = f"{parameterization} ({', '.join(differing)})" if differing else str(parameterization)
            values[column] = runs.sort_values(SEEDS)["normalized_score" if scored else "return_"].tolist()
    return Row(
        dataset=dataset,
        qualifiers=qualifiers,
        measure="score" if scored else "return",
        values=values,
        recorded=_recorded(dataset, frame["references"], scored),
        published={score.method: score for score in published} if scored else {},
    )


def _qualifiers(status: str, dynamics: str) -> Iterator[str]:
    if dynamics != "v2":
        yield f"{dynamics} dynamics"
    if status != "verified":
        yield status


def _recorded(dataset: str, references: Iterable[Mapping[str, float]], scored: bool) -> dict[str, list[float]]:
    found: dict[str, set[float]] = defaultdict(set)
    for name, value in (item for recorded in references for item in recorded.items()):
        score = normalized_score(dataset, value) if scored else None
        found[name].add(value if score is None else score)
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
