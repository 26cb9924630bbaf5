"""Density estimation on the page: scores, tables, pictures and sounds of folders with density results."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trajectory_adacat.evaluation.statistics import standard_error

RESULTS_FILE = "density.jsonl"
TABLE_FILE = "table.md"
OTHER_LINES = ("rollouts.jsonl", "metrics.jsonl")
NEEDED = ("dataset", "form", "nll")  # keys of a density result
COLUMNS = ("data", "method", "negative log-likelihood", "trainings", "parameters", "further measures")
KINDS = {".png": "image/png", ".wav": "audio/wav"}


class Exhibit(NamedTuple):
    """A picture, a sound, or both of one name, as data URLs; empty for none."""

    name: str
    picture: str
    sound: str


@dataclass(frozen=True)
class DensityFolder:
    """A folder with density results.

    Attributes:
        name: its path as given.
        rows: cells of its score table, in the order of `COLUMNS`.
        best: a sentence for each dataset.
        tables: header and lines of each ``table.md`` in or below it, by its path.
        media: pictures and sounds in or below it, by path without ending.
    """

    name: str
    rows: Sequence[Sequence[str]]
    best: Sequence[str]
    tables: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    media: Mapping[str, Sequence[Path]] = field(default_factory=dict)


def load_density(paths: Iterable[Path]) -> tuple[list[DensityFolder], list[str]]:
    """Return the folders with density results in and below the paths, and a sentence for each file that is unreadable.

    A density result is a line of a ``*.jsonl`` file with at least the keys ``dataset``, ``form`` and ``nll``.
    """
    results: dict[Path, list[dict[str, Any]]] = defaultdict(list)
    problems: list[str] = []
    for file in (file for path in paths for file in _lines_files(path)):
        for number, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            result = _result(text)
            if result is not None:
                results[file.parent].append(result)
            elif file.name == RESULTS_FILE and text.strip():
                problems.append(f"The density result {file}:{number} cannot be read: it lacks {', '.join(NEEDED)}.")
    return [_folder(place, found) for place, found in results.items()], problems


def _lines_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
    return [file for file in files if file.suffix == ".jsonl" and file.name not in OTHER_LINES]


def _result(text: str) -> dict[str, Any] | None:
    """Return the line as a density result; None if it is not one."""
    try:
        found = json.loads(text)
        return found | {"nll": float(found["nll"])} if all(name in found for name in NEEDED) else None
    except (ValueError, TypeError):
        return None


def _folder(place: Path, results: Sequence[Mapping[str, Any]]) -> DensityFolder:
    groups = _groups(results)
    media: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(file for file in place.rglob("*") if file.suffix in KINDS):
        media[str(file.relative_to(place).with_suffix(""))].append(file)
    tables = {str(file.relative_to(place)): _cells(file) for file in sorted(place.rglob(TABLE_FILE))}
    return DensityFolder(
        name=str(place),
        rows=[_row(*key, found) for key, found in groups.items()],
        best=list(_best(groups)),
        tables={name: cells for name, cells in tables.items() if cells},
        media=media,
    )


def _groups(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the results by dataset and method, the lowest mean of a dataset first; other settings are not pooled."""
    alike: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        method = json.dumps([result.get("settings"), result.get("data"), result.get("unit")], sort_keys=True)
        alike[str(result["dataset"]), str(result["form"])][method].append(result)
    groups = {}
    for (dataset, form), parts in alike.items():
        for label, found in zip(_labels([found[0] for found in parts.values()]), parts.values(), strict=True):
            groups[dataset, f"{form} ({label})" if label else form] = found
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], _mean(item[1]))))


def _labels(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings in which results differ, by the last part of their names; numbers where that is ambiguous."""
    flat = [dict(_flatten({name: result.get(name) for name in ("settings", "data", "unit")})) for result in results]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    differing = [name for name in names if len({settings.get(name) for settings in flat}) > 1]
    labels = [
        ", ".join(f"{name.rpartition('.')[2]}={each[name]}" for name in differing if name in each) for each in flat
    ]
    return labels if len(set(labels)) == len(labels) else [f"settings {i}" for i in range(1, len(labels) + 1)]


def _flatten(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _flatten(value, f"{name}.{key}")
    elif settings is not None:
        yield name, str(settings)


def _mean(results: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([result["nll"] for result in results]))


def _value(results: Sequence[Mapping[str, Any]]) -> str:
    error = standard_error([result["nll"] for result in results])
    spread = "" if error is None else f" ± {error:.3f}"
    return f"{_mean(results):.3f}{spread} {results[0].get('unit', '')}".rstrip()


def _row(dataset: str, method: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    first = results[0]
    has_same_samples = all(result.get("sampling") == first.get("sampling") for result in results)
    measures = (first.get("measures") or {}) if has_same_samples else {}
    further = "; ".join(
        f"{name} {np.mean([float(result['measures'][name]) for result in results]):.4g}"
        for name in measures
        if all(name in (result.get("measures") or {}) for result in results)
    )
    return [dataset, method, _value(results), str(len(results)), str(first.get("n_parameters", "")), further]


def _best(groups: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    by_dataset: dict[str, list[str]] = defaultdict(list)
    for (dataset, method), results in groups.items():
        by_dataset[dataset].append(f"{method} {_value(results)}")
    for dataset, methods in by_dataset.items():
        yield f"{dataset}: the lowest negative log-likelihood has {methods[0]}" + (
            f"; then {', '.join(methods[1:3])}." if len(methods) > 1 else "."
        )


def _cells(file: Path) -> list[list[str]]:
    """Return the header and the lines of the first table in a Markdown file."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if not all(set(cell) <= set("-: ") for cell in row)]


def exhibits(folder: DensityFolder, room: int) -> tuple[list[Exhibit], int]:
    """Return what fits into so many bytes of the page, and the number of exhibits that do not."""
    shown, left_out = [], 0
    for name, files in folder.media.items():
        urls = {file.suffix: _url(file) for file in files}
        size = sum(map(len, urls.values()))
        if size > room:
            left_out += 1
            continue
        room -= size
        shown.append(Exhibit(name, urls.get(".png", ""), urls.get(".wav", "")))
    return shown, left_out


def _url(file: Path) -> str:
    return f"data:{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
