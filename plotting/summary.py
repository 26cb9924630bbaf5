"""Rollout results gathered into rows (datasets) and columns (methods); what differs is never pooled.

A row is a dataset together with the environment and the standing of its data; a column is a parameterization, split
where its planner's or its training's settings differ.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.evaluation.statistics import Summary, interquartile_mean, summarize

PUBLISHED = Path(__file__).with_name("published_scores.json")
UNVERIFIED_DYNAMICS = "unverified dynamics"
FIRST_COLUMNS = ("uniform", "quantile", "adacat")  # the paper's order; others follow by name
UNSET = "unset"
# Flags of the training that are younger than some results, with the values by which these were trained.
YOUNGER = {"precision": "float32"}
TRAINING = "training "  # training and planner have flags of the same names

Results = Mapping[Path, RolloutResult]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class PublishedScore:
    """A normalized score (0 to 100) that others published for the official dataset of this name."""

    group: str
    method: str
    dataset: str
    mean: float
    standard_error: float | None
    source: str


@dataclass(frozen=True)
class Row:
    """The results on one dataset in one environment.

    Attributes:
        dataset: its name.
        qualifiers: what sets it apart from the official data in D4RL's environment, such as ``native dynamics``.
        measure: ``score`` (normalized, 0 to 100) where every result has one, else ``return``.
        values: the measure of each pooled run, by column.
        recorded: the references that the rollouts carry, in the row's measure, by name.
        published: the published scores of exactly this dataset; none where there is a qualifier.
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


def load_published(groups: Iterable[str]) -> list[PublishedScore]:
    """The published scores of some groups (``paper``: this method's Table 4, ``peers``), each with its source."""
    data = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    scores = [PublishedScore(**{**entry, "source": data["sources"][entry["source"]]}) for entry in data["scores"]]
    return [score for score in scores if score.group in set(groups)]


def gather(results: Results, published: Sequence[PublishedScore] = ()) -> list[Row]:
    """Gather results into rows, sorted by dataset, those without qualifiers first.

    Raises:
        InputError: if two files hold the same run.
    """
    rows = []
    for (dataset, status, dynamics, unverified), members in sorted(_group(results, _standing).items()):
        environments = _split(members, lambda result: result.environment)
        for differing, same_environment in environments:
            qualifiers = (*_qualifiers(status, dynamics, unverified), *_settings(differing))
            references = [score for score in published if score.dataset == dataset and not qualifiers]
            rows.append(_row(dataset, qualifiers, same_environment, references))
    return sorted(rows, key=lambda row: (row.dataset, bool(row.qualifiers)))


def overall(rows: Sequence[Row]) -> dict[str, dict[str, Summary]]:
    """Statistics over several datasets of one kind (``-v2``, ``-collected``), by kind and column.

    The mean of the datasets' means, and the IQM with its interval stratified by dataset. Only rows without qualifiers
    and with normalized scores take part, and only columns with the same number of runs on every dataset, which is
    what a stratified resampling takes.
    """
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.measure == "score" and not row.qualifiers:
            kinds[row.dataset.rpartition("-")[2]].append(row)
    together = {f"all -{kind} datasets": _over_datasets(alike) for kind, alike in kinds.items() if len(alike) > 1}
    return {label: summaries for label, summaries in together.items() if summaries}


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
    """The keys of several dictionaries, in the order of their first appearance."""
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The columns that hold values in any row, the paper's three parameterizations first."""

    def order(column: str) -> tuple[int, str]:
        base = column.split(" ")[0]
        return (FIRST_COLUMNS.index(base) if base in FIRST_COLUMNS else len(FIRST_COLUMNS), column)

    return sorted({column for row in rows for column in row.values}, key=order)


def _row(
    dataset: str,
    qualifiers: tuple[str, ...],
    results: Results,
    published: Sequence[PublishedScore],
) -> Row:
    scored = all(result.normalized_score is not None for result in results.values())
    values = {}
    for parameterization, members in _group(results, lambda result: result.parameterization).items():
        methods = _split(members, _method)
        for differing, runs in methods:
            _refuse_duplicates(runs)
            column = f"{parameterization} ({', '.join(_settings(differing))})" if differing else parameterization
            ordered = sorted(runs.values(), key=lambda result: (result.train_seed, result.rollout_seed))
            values[column] = [_measure(result, scored) for result in ordered]
    return Row(
        dataset=dataset,
        qualifiers=qualifiers,
        measure="score" if scored else "return",
        values=values,
        recorded=_recorded(dataset, results.values(), scored),
        published={score.method: score for score in published} if scored else {},
    )


def _method(result: RolloutResult) -> Settings:
    training = {**YOUNGER, **result.checkpoint.get("training", {})}
    return {**{f"{TRAINING}{key}": value for key, value in training.items()}, **result.planner}


def _measure(result: RolloutResult, scored: bool) -> float:
    if scored:
        assert result.normalized_score is not None  # that is what scored means
        return result.normalized_score
    return result.return_


def _recorded(dataset: str, results: Iterable[RolloutResult], scored: bool) -> dict[str, list[float]]:
    found: dict[str, set[float]] = defaultdict(set)
    for result in results:
        for name, reference in result.references.items():
            score = normalized_score(dataset, reference) if scored else None
            found[name].add(reference if score is None else score)
    return {name: sorted(values) for name, values in found.items()}


def _standing(result: RolloutResult) -> tuple[str, str, str, bool]:
    unverified = result.environment.get("dynamics_verified") is False
    return result.dataset, result.data_status, result.environment["dynamics"], unverified


def _qualifiers(status: str, dynamics: str, unverified_dynamics: bool) -> Iterator[str]:
    if dynamics != "v2":
        yield f"{dynamics} dynamics"
    if unverified_dynamics:
        yield UNVERIFIED_DYNAMICS
    if status != "verified":
        yield status


def _group(results: Results, key: Callable[[RolloutResult], Any]) -> dict[Any, Results]:
    groups: dict[Any, dict[Path, RolloutResult]] = defaultdict(dict)
    for path, result in results.items():
        groups[key(result)][path] = result
    return dict(groups)


def _split(results: Results, settings: Callable[[RolloutResult], Settings]) -> list[tuple[Settings, Results]]:
    """Split results by a dictionary of settings, each part with those of its settings that the others do not share."""
    parts = _group(results, lambda result: json.dumps(_flat(settings(result)), sort_keys=True))
    found = {text: json.loads(text) for text in sorted(parts)}
    keys = sorted({key for values in found.values() for key in values})
    differing = [key for key in keys if len({json.dumps(values.get(key, UNSET)) for values in found.values()}) > 1]
    return [({key: values.get(key, UNSET) for key in differing}, parts[text]) for text, values in found.items()]


def _flat(settings: Settings, prefix: str = "") -> Settings:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _settings(values: Settings) -> list[str]:
    return [f"{key.rpartition('.')[2]}={value}" for key, value in values.items()]


def _refuse_duplicates(runs: Results) -> None:
    seen: dict[tuple[int, int], Path] = {}
    for path, result in runs.items():
        seeds = (result.train_seed, result.rollout_seed)
        if seeds in seen:
            raise InputError(
                f"{seen[seeds]} and {path} hold the same run, {result.parameterization} on {result.dataset} with "
                f"train_seed {seeds[0]} and rollout_seed {seeds[1]} and equal settings: give only the folders of one."
            )
        seen[seeds] = path
