"""Read what a report shows from files: results, trainings' logs and recordings. Whatever cannot be read is named."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import Location, RolloutResult, load_results
from trajectory_adacat.plotting.report.density import DensityFolder, load_density
from trajectory_adacat.plotting.splitting import Names
from trajectory_adacat.plotting.summary import Row, gather
from trajectory_adacat.recording import find_recordings, load_recording
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

NO_RESULTS = "holds no rollout results"
CHECKPOINT_FILE = "checkpoint.json"  # lists the other files of a checkpoint


@dataclass(frozen=True)
class RecordingSummary:
    """What a report keeps of every recording; the arrays of a few are read again.

    Attributes:
        path: its file.
        description: see `Recording`.
        pit: see `Recording`.
        ratio: mean planned over mean realized return where both are known; None otherwise.
    """

    path: Path
    description: dict[str, Any]
    pit: NDArray[Any]
    ratio: float | None

    @property
    def label(self) -> str:
        """The rollout's name in lists."""
        about, result = self.description, self.description["result"]
        rollout = f"return {result['return']:.5g}, rollout {about['rollout_seed']}"
        return f"{rollout}: {self.group}, training {about['train_seed']}"

    @property
    def group(self) -> str:
        """The data and the method."""
        about = self.description
        parts = (about["dataset"], about["parameterization"], describe_planner(about["planner"]))
        return ", ".join(filter(None, parts))


def describe_planner(planner: Mapping[str, Any]) -> str:
    """Return the settings of a search that change most, such as ``critic, 8 x 2 candidates, horizon 1``.

    It is empty for settings of another form.
    """
    search, scoring = planner.get("search"), planner.get("scoring", {})
    if not isinstance(search, Mapping) or not isinstance(scoring, Mapping):
        return ""
    try:
        horizon, beams, n_expand = (search[name] for name in ("horizon", "beam_width", "n_expand"))
    except KeyError:
        return ""
    if horizon == beams == n_expand == 1:
        return "no search"
    judge = "critic" if scoring.get("name") == "critic" else "value tokens"
    return f"{judge}, {beams} x {n_expand} candidates, horizon {horizon}"


@dataclass
class Material:
    """What a report shows.

    Attributes:
        results: rollout results, by location.
        rows: the same as rows of the score table.
        trainings: logged lines of each training, by its name.
        recordings: of rollouts.
        density: folders with results of density estimation.
        problems: a sentence for each file that could not be used.
    """

    results: dict[Location, RolloutResult] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    trainings: dict[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    recordings: list[RecordingSummary] = field(default_factory=list)
    density: Sequence[DensityFolder] = ()
    problems: list[str] = field(default_factory=list)


def load_material(paths: Iterable[Path], names: Names = "settings") -> Material:
    """Read everything below the paths; name what cannot be read in ``problems``.

    Args:
        paths: folders, or results files.
        names: of the table's columns, see `gather`.

    Raises:
        InputError: if a path does not exist.
    """
    paths, material = list(paths), Material()
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path} to report on.")
    _add_results(material, paths, names)
    _add_trainings(material, paths)
    material.density, problems = load_density(paths)
    material.problems += problems
    for path in paths:
        _add_checkpoints(material, path)
        _add_recordings(material, path)
    return material


def _add_results(material: Material, paths: Sequence[Path], names: Names) -> None:
    for path in paths:
        for part in [path, *_parts(path)]:
            try:
                material.results |= load_results([part])
            except InputError as error:
                if NO_RESULTS not in str(error) and part.is_file():
                    material.problems.append(str(error))
                continue
            if part == path:  # everything could be read at once
                break
    try:
        material.rows = gather(material.results, names=names) if material.results else ()
    except InputError as error:
        material.problems.append(f"There is no score table: {error}")


def _parts(folder: Path) -> list[Path]:
    """Return the results files below a folder, to be read one by one where one of them is damaged."""
    return sorted(folder.rglob("rollouts.jsonl")) if folder.is_dir() else []


def _add_trainings(material: Material, paths: Sequence[Path]) -> None:
    found: dict[Path, Sequence[Mapping[str, float]]] = {}
    for file in (file for path in paths if path.is_dir() for file in sorted(path.rglob(METRICS_FILE))):
        try:
            lines = [line for line in map(_numbers, read_metrics(file.parent)) if "step" in line]
        except (OSError, ValueError, AttributeError) as error:
            material.problems.append(f"{file} cannot be read: {error}.")
            continue
        if lines:
            found[file.parent.resolve()] = lines
        else:
            material.problems.append(f"{file} has no lines yet.")
    if found:
        shared = os.path.commonpath([folder.parent for folder in found])
        material.trainings = {os.path.relpath(folder, shared): lines for folder, lines in found.items()}


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries of a logged line that are numbers."""
    return {name: value for name, value in line.items() if isinstance(value, int | float)}


def _add_checkpoints(material: Material, path: Path) -> None:
    """Name checkpoints that lack a file, and trainings that have checkpoints and no log."""
    trainings = set()
    for file in sorted(path.rglob(CHECKPOINT_FILE)) if path.is_dir() else []:
        try:
            names = list(json.loads(file.read_text())["files"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            material.problems.append(f"The checkpoint {file.parent} cannot be read: {error!r}.")
            continue
        missing = [name for name in names if not (file.parent / name).exists()]
        if missing:
            material.problems.append(f"The checkpoint {file.parent} lacks {', '.join(missing)}: it cannot be used.")
        if file.parent.name.startswith("step_"):
            trainings.add(file.parents[1])
    for folder in sorted(trainings):
        if not (folder / METRICS_FILE).exists():
            material.problems.append(f"The training {folder} has no {METRICS_FILE}, and so no learning curves.")


def _add_recordings(material: Material, path: Path) -> None:
    for file in find_recordings(path) if path.is_dir() else []:
        try:
            material.recordings.append(summarize_recording(file))
        except InputError as error:
            material.problems.append(str(error))


def summarize_recording(file: Path) -> RecordingSummary:
    """Read what the page keeps of a recording.

    Raises:
        InputError: if it cannot be read, or its description lacks something.
    """
    recording = load_recording(file)
    known = np.isfinite(recording.realized)
    planned, realized = recording.scores[known], recording.realized[known]
    ratio = float(planned.mean() / realized.mean()) if known.any() and realized.mean() > 0.0 else None
    summary = RecordingSummary(file, recording.description, recording.pit, ratio)
    try:
        assert summary.label  # names every key that the page needs
        for key in ("command", "names", "planner", "environment", "versions", "video"):
            recording.description[key]
        names = {key: len(recording.description["names"][key]) for key in ("observation", "action")}
        recording.description["video"].get("missing")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The recording {file} cannot be read: its description lacks {error}.") from error
    if names != {"observation": recording.observations.shape[1], "action": recording.actions.shape[1]}:
        raise InputError(f"The recording {file} cannot be read: it does not name each dimension once.")
    return summary


def by_interest(recordings: Sequence[RecordingSummary]) -> list[RecordingSummary]:
    """Order recordings: of each data set and method the lowest, the highest and the median return, then the others.

    The groups take turns in steps of these three, so that a page with room for few recordings shows something of each,
    and the first two are of one group.
    """
    groups: dict[str, list[RecordingSummary]] = {}
    for recording in recordings:
        groups.setdefault(recording.group, []).append(recording)
    ordered = [_extremes_first(members) for members in groups.values()]
    return [
        *(found for members in ordered for found in members[:3]),
        *(found for members in ordered for found in members[3:]),
    ]


def _extremes_first(recordings: Sequence[RecordingSummary]) -> list[RecordingSummary]:
    ordered = sorted(recordings, key=lambda recording: recording.description["result"]["return"])
    places = dict.fromkeys([0, len(ordered) - 1, len(ordered) // 2, *range(len(ordered))])
    return [ordered[place] for place in places]
