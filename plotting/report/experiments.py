"""Read what a report shows from files: results, trainings' logs and recordings. Whatever cannot be read is named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import Location, RolloutResult, load_results
from trajectory_adacat.plotting.summary import Row, gather
from trajectory_adacat.recording import find_recordings, load_recording
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

NO_RESULTS = "holds no rollout results"


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
        seeds = f"training {about['train_seed']}, rollout {about['rollout_seed']}"
        return f"{about['dataset']}, {about['parameterization']}, {seeds}: return {result['return']:.5g}"

    @property
    def group(self) -> str:
        """The data and the method."""
        return f"{self.description['dataset']}, {self.description['parameterization']}"


@dataclass
class Material:
    """What a report shows.

    Attributes:
        results: rollout results, by location.
        rows: the same as rows of the score table.
        trainings: logged lines of each training, by its name.
        recordings: of rollouts.
        problems: a sentence for each file that could not be used.
    """

    results: dict[Location, RolloutResult] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    trainings: dict[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    recordings: list[RecordingSummary] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def load_material(paths: Iterable[Path]) -> Material:
    """Read everything below the paths; name what cannot be read in ``problems``.

    Raises:
        InputError: if a path does not exist.
    """
    paths, material = list(paths), Material()
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path} to report on.")
    _add_results(material, paths)
    for path in paths:
        _add_trainings(material, path)
        _add_recordings(material, path)
    return material


def _add_results(material: Material, paths: Sequence[Path]) -> None:
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
        material.rows = gather(material.results) if material.results else ()
    except InputError as error:
        material.problems.append(f"There is no score table: {error}")


def _parts(folder: Path) -> list[Path]:
    """Return the results files below a folder, to be read one by one where one of them is damaged."""
    return sorted(folder.rglob("rollouts.jsonl")) if folder.is_dir() else []


def _add_trainings(material: Material, path: Path) -> None:
    for file in sorted(path.rglob(METRICS_FILE)) if path.is_dir() else []:
        name = str(file.parent.relative_to(path) if file.parent != path else path.resolve().name)
        try:
            lines = [line for line in read_metrics(file.parent) if "step" in line]
        except (OSError, ValueError, TypeError) as error:
            material.problems.append(f"{file} cannot be read: {error}.")
            continue
        if lines:
            material.trainings[name if name not in material.trainings else str(file.parent)] = lines
        else:
            material.problems.append(f"{file} has no lines yet.")


def _add_recordings(material: Material, path: Path) -> None:
    for file in find_recordings(path) if path.is_dir() else []:
        try:
            material.recordings.append(_summarize(file))
        except InputError as error:
            material.problems.append(str(error))


def _summarize(file: Path) -> RecordingSummary:
    recording = load_recording(file)
    known = np.isfinite(recording.realized)
    planned, realized = recording.scores[known], recording.realized[known]
    ratio = float(planned.mean() / realized.mean()) if known.any() and realized.mean() > 0.0 else None
    summary = RecordingSummary(file, recording.description, recording.pit, ratio)
    try:
        assert summary.label  # names every key that the page needs
        for key in ("command", "names", "planner", "environment", "versions", "video"):
            recording.description[key]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The recording {file} cannot be read: its description lacks {error}.") from error
    return summary


def by_interest(recordings: Sequence[RecordingSummary]) -> list[RecordingSummary]:
    """Order recordings: the worst, the best and the median return first, then those in between."""
    ordered = sorted(recordings, key=lambda recording: recording.description["result"]["return"])
    first = [0, len(ordered) - 1, len(ordered) // 2]
    places = dict.fromkeys([*(place for place in first if ordered), *range(len(ordered))])
    return [ordered[place] for place in places]
