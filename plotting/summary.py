"""Group rollout results into rows (datasets) and columns (methods); results that differ are never pooled.

A row is a data set, its status and the environment. A column is a parameterization, split where the settings of the
planner or of the training differ, the training's step, or the checkpoints of one training seed.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, without_nulls
from trajectory_adacat.evaluation.scores import own_environments, reference_returns
from trajectory_adacat.evaluation.statistics import (
    Improvement,
    Scores,
    Summary,
    probability_of_improvement,
    summarize,
    summarize_tasks,
)
from trajectory_adacat.plotting.published import PublishedScore

if TYPE_CHECKING:
    import pandas as pd

Names = Literal["settings", "folders"]  # what distinguishes the columns of one parameterization

OWN = "adacat"  # the parameterization that the others are compared with
BASE_FOLDER = "plan"  # in which a sweep plans with the settings of all its variants
FIRST_COLUMNS = ("uniform", "quantile", "adacat")  # the paper's order; others follow by name
SEEDS = ["train_seed", "rollout_seed"]
# Prefixes of the frame's columns of settings. Planner and training have settings of the same names.
ENVIRONMENT, METHOD, TRAINING = "environment.", "method.", "method.training "
STEP = "method.checkpoint step"
UNSET = "unset"  # no JSON text
UNKNOWN = "unknown "  # before the name of data whose SHA-256 is not recorded


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
        for data, same_data in _split_data(same_place):
            for differing, runs in _split(same_data, ENVIRONMENT):
                qualifiers = (*(text for text in (place, status) if text not in ("", "verified")), *data, *differing)
                references = [score for score in published if score.dataset == dataset and not qualifiers]
                rows.append(_row(dataset, qualifiers, runs, references, names))
    return sorted(rows, key=lambda row: (row.dataset, bool(row.qualifiers)))


def to_frame(results: Mapping[Any, RolloutResult]) -> "pd.DataFrame":
    """Return a frame with one row for each result, its attributes and its settings as columns.

    The settings are ``environment.*``, ``method.*`` (of the planner) and ``method.training *``, nested names joined by
    dots. They are JSON texts, so that 1, 1.0 and true differ; a setting that is null or that a result does not have is
    "unset". ``label``, ``data`` and ``place`` say what the row is of: see :func:`_data` and :func:`_place`.
    """
    import pandas as pd  # slow to import

    frame = pd.DataFrame({"location": str(location), **vars(result)} for location, result in results.items())
    frame["folder"] = [Path(getattr(location, "path", location)).parent.name for location in results]
    frame["likelihood"] = [result.likelihood for result in results.values()]
    frame["label"] = [result.data_label for result in results.values()]
    frame["data"] = [_data(result) for result in results.values()]
    frame["place"] = [_place(result) for result in results.values()]
    frame["hash"] = [str(result.checkpoint["hash"] or UNSET) for result in results.values()]
    settings = pd.DataFrame(
        {
            **_flatten(result.environment, ENVIRONMENT),
            **_flatten(result.planner, METHOD),
            **_flatten(_training(result), TRAINING),
            **({} if result.checkpoint.get("step") is None else {STEP: json.dumps(result.checkpoint["step"])}),
        }
        for result in results.values()
    )
    return frame.join(settings.fillna(dict.fromkeys(settings, UNSET)))


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


def _data(result: RolloutResult) -> str:
    """Return what identifies the training data: its SHA-256, or that it is unknown, with the name as given.

    It is empty for verified official data: their bytes are known, also for results that do not record them.
    """
    if result.data_status == "verified" and result.dataset.endswith("-v2"):
        return ""
    return result.data_sha256 or UNKNOWN + result.dataset


def _place(result: RolloutResult) -> str:
    """Return the qualifier for where the rollout was: nothing, ``native dynamics``, or another environment's id."""
    if _is_elsewhere(result):
        return f"in {result.environment['environment']}"
    dynamics = result.environment["dynamics"]
    return "" if dynamics == "v2" else f"{dynamics} dynamics"


def _is_elsewhere(result: RolloutResult) -> bool:
    """Whether the environment is not the dataset's own, as far as the result says what that is."""
    environment, own = result.environment["environment"], own_environments(result.dataset)
    if own is not None:  # without a score the robot or its rewards were changed
        has_references = reference_returns(result.dataset) is not None
        return environment not in own or (has_references and result.normalized_score is None)
    recorded = result.checkpoint.get("dataset", {})
    if "environment" not in recorded or result.normalized_score is not None:
        return False
    name = recorded["environment"]
    return environment not in ((own_environments(name) if name else None) or {name})


def _training(result: RolloutResult) -> dict[str, Any]:
    """Return the settings of the training without the dataset's name, which may be one of several paths to a file."""
    return {key: value for key, value in result.checkpoint.get("training", {}).items() if key != "dataset"}


def _flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in without_nulls(settings).items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": json.dumps(value)}
    return flat


def _split_data(frame: "pd.DataFrame") -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
    """Split results by their training data; results without training go with the others if these have one data set."""
    is_trained = frame["hash"] != UNSET
    if frame.loc[is_trained, "data"].nunique() == 1:
        return [((), frame)]
    parts = list(frame.groupby("data"))
    if len(parts) == 1:
        return [((), frame)]
    short = _shortened(data for data, _ in parts if not data.startswith(UNKNOWN))
    n_unknown = sum(data.startswith(UNKNOWN) for data, _ in parts)
    labels = [
        short[data] if not data.startswith(UNKNOWN) else data if n_unknown > 1 else UNKNOWN.strip() for data, _ in parts
    ]
    return [((f"data {label}",), part) for label, (_, part) in zip(labels, parts, strict=True)]


def _split_checkpoints(runs: "pd.DataFrame") -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
    """Split off the results of training seeds that have several checkpoints, one part for each checkpoint."""
    n_hashes = runs.groupby("train_seed")["hash"].transform("nunique")
    alone, several = runs[n_hashes == 1], runs[n_hashes > 1]
    short = _shortened(several["hash"])
    parts: list[tuple[tuple[str, ...], pd.DataFrame]] = [
        ((f"train_seed={seed}", f"checkpoint={short[checkpoint]}"), part)
        for (seed, checkpoint), part in several.groupby(["train_seed", "hash"])
    ]
    if not parts:
        return [((), runs)]
    return [(("other train_seeds",), alone), *parts] if len(alone) else parts


def _shortened(hashes: Iterable[str]) -> dict[str, str]:
    """Return the first characters of each hash, as many as tell them apart and at least 8."""
    found = set(hashes)
    length = next(n for n in range(8, 9 + max(map(len, found), default=0)) if len({h[:n] for h in found}) == len(found))
    return {text: text[:length] for text in found}


def _split(frame: "pd.DataFrame", prefix: str) -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
    """Split results by the settings with a prefix; return the settings in which the parts differ with each part."""
    differing = [column for column in sorted(frame) if column.startswith(prefix) and frame[column].nunique() > 1]
    if not differing:
        return [((), frame)]
    parts = list(frame.groupby(differing))
    values = [dict(zip(differing, texts, strict=True)) for texts, _ in parts]
    labels = _labels(values) if prefix == METHOD else [tuple(map(_label, value, value.values())) for value in values]
    if len(set(labels)) < len(labels):  # the values 15 and "15" are printed alike, their JSON texts are not
        labels = _labels(values, str)
    return [(label, part) for label, (_, part) in zip(labels, parts, strict=True)]


def _labels(parts: Sequence[Mapping[str, str]], show: Callable[[str], Any] = json.loads) -> list[tuple[str, ...]]:
    """Return the settings that name each part: those with several values, and others as far as they are needed.

    A setting that only some of the parts have, all with one value, often follows from another one, as a critic's
    settings do from the scoring. It is shown only where the parts cannot be told apart without it. What a part does not
    have is not shown.
    """
    several = {name for name in parts[0] if len({part[name] for part in parts} - {UNSET}) > 1}
    chosen = [name for name in parts[0] if name in several]
    for name in parts[0]:
        if len({tuple(part[key] for key in chosen) for part in parts}) == len(parts):
            break
        chosen += [] if name in several else [name]
    return [
        tuple(f"{_name(name)}={show(part[name])}" for name in sorted(chosen) if part[name] != UNSET) for part in parts
    ]


def _label(column: str, text: str) -> str:
    return f"{_name(column)}={text if text == UNSET else json.loads(text)}"


def _name(column: str) -> str:
    """Return the last part of a setting's name, and whether it is one of the training."""
    if column == STEP:
        return column.removeprefix(METHOD)
    if column.startswith(TRAINING):
        return f"training {column.removeprefix(TRAINING).rpartition('.')[2]}"
    return column.rpartition(".")[2]


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
    for column, runs in _columns(frame, names):
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


def _columns(frame: "pd.DataFrame", names: Names) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Yield the runs that are pooled, with the name of their column."""
    for parameterization, alike in frame.groupby("parameterization", sort=False):
        parts = [
            ((*settings, *checkpoint), runs)
            for settings, same_settings in _split(alike, METHOD)
            for checkpoint, runs in _split_checkpoints(same_settings)
        ]
        labels = [", ".join(differing) for differing, _ in parts]
        if names == "folders":
            labels = _folders(str(parameterization), [runs for _, runs in parts]) or labels
        for text, (_, runs) in zip(labels, parts, strict=True):
            yield f"{parameterization} ({text})" if text else str(parameterization), runs


def _folders(parameterization: str, parts: "Sequence[pd.DataFrame]") -> list[str]:
    """Return a name for each part by its folder, such as ``critic``; none if the folders do not tell the parts apart.

    The name is empty for a sweep's plans without a variant, and for a folder named by the parameterization.
    """
    folders = [runs["folder"].unique().tolist() for runs in parts]
    if any(len(found) > 1 for found in folders) or len({found[0] for found in folders}) < len(parts):
        return []
    plain = (BASE_FOLDER, parameterization)
    return ["" if name in plain else name.removeprefix(f"{BASE_FOLDER}_") for (name,) in folders]


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
