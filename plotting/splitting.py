"""Split results by their data and settings, and name the parts; results that differ are never pooled."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from trajectory_adacat.plotting.frame import ENVIRONMENT, METHOD, STEP, TRAINING, UNKNOWN, UNSET

if TYPE_CHECKING:
    import pandas as pd

Names = Literal["settings", "folders"]  # what distinguishes the columns of one parameterization
BASE_FOLDER = "plan"  # in which a sweep plans with the settings of all its variants


def split_data(frame: "pd.DataFrame") -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
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


def split(frame: "pd.DataFrame", prefix: str) -> "list[tuple[tuple[str, ...], pd.DataFrame]]":
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


def columns(frame: "pd.DataFrame", names: Names) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Yield the runs that are pooled, with the name of their column."""
    for parameterization, alike in frame.groupby("parameterization", sort=False):
        parts = [
            ((*settings, *checkpoint), runs)
            for settings, same_settings in split(alike, METHOD)
            for checkpoint, runs in _split_checkpoints(same_settings)
        ]
        labels = [", ".join(differing) for differing, _ in parts]
        if names == "folders":
            labels = _folders(str(parameterization), [runs for _, runs in parts]) or labels
        for text, (_, runs) in zip(labels, parts, strict=True):
            yield f"{parameterization} ({text})" if text else str(parameterization), runs


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
    """Return the last part of a setting's name, and whether it is one of the training.

    A choice among variants, such as ``scoring.name``, has the name of what is chosen.
    """
    if column == STEP:
        return column.removeprefix(METHOD)
    is_training = column.startswith(TRAINING)
    prefix = TRAINING if is_training else METHOD if column.startswith(METHOD) else ENVIRONMENT
    last = column.removeprefix(prefix).removesuffix(".name").rpartition(".")[2]
    return f"training {last}" if is_training else last


def _folders(parameterization: str, parts: "Sequence[pd.DataFrame]") -> list[str]:
    """Return a name for each part by its folder, such as ``critic``; none if the folders do not tell the parts apart.

    The name is empty for a sweep's plans without a variant, and for a folder named by the parameterization.
    """
    folders = [runs["folder"].unique().tolist() for runs in parts]
    if any(len(found) > 1 for found in folders) or len({found[0] for found in folders}) < len(parts):
        return []
    plain = (BASE_FOLDER, parameterization)
    return ["" if name in plain else name.removeprefix(f"{BASE_FOLDER}_") for (name,) in folders]
