"""Rollout results as lines of JSON: all that a table or a figure needs, and where it came from."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_type_hints

from trajectory_adacat.checks import fits, suggest, type_name
from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.files import parse_json, read_text, write_atomically
from trajectory_adacat.legacy import is_flat, nested_planner, nested_training

RESULTS_FILE = "rollouts.jsonl"
OLD_PATTERN = "rollout_*.json"  # earlier versions wrote one file for each rollout
OLD_ENVIRONMENT_KEY = "dynamics_verified"  # earlier versions recorded it, and it was never False
FILE_SUFFIXES = (".hdf5", ".h5")
LIKELIHOOD = "held_out_nll"  # key of ``checkpoint``
UNVERIFIED_SUFFIX = " (unverified)"  # of a label; ``data_status`` says it too


class Location(NamedTuple):
    """The place of a result: a line of a JSON-lines file, or a whole JSON file (``line`` 0)."""

    path: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class RolloutResult:
    """The result of one episode driven by a planner.

    Attributes:
        dataset: name under which the training data was loaded; it may be a path.
        parameterization: ``adacat``, ``uniform``, ``quantile``, or another name of the policy.
        train_seed: seed of the training run.
        rollout_seed: seed of the episode.
        return_: undiscounted return; ``return`` in the file.
        normalized_score: 0 to 100 (D4RL and Trajectory Transformer use the fraction); None without reference returns.
        length: environment steps.
        terminated: whether the environment reached a terminal state.
        truncated: whether the episode was cut.
        planner: settings of the method. Only rollouts with equal settings are pooled, so seeds and paths do not
            belong here.
        checkpoint: holds at least ``hash``, which is None where nothing was trained. ``dataset`` holds the data's
            ``label`` (the file's name), ``sha256`` and ``environment``. Rollouts are pooled only if the data, the
            ``step`` and the settings under ``training`` (again without seeds) are equal too, and if those of one
            ``train_seed`` have one ``hash``. ``held_out_nll`` is the negative log-likelihood of held-out data in nats
            per dimension, in the data's own units, where the training logged it.
        environment: holds at least the id as ``environment`` and the ``dynamics``, such as ``v2`` or ``native``. Only
            rollouts in equal environments are pooled.
        versions: version of each library, by name, and the ``processor`` that ran the episode.
        git_revision: revision of the code; None outside a clone.
        seconds_per_action: wall-clock seconds for each planned action.
        data_status: ``verified`` if the data was identified as the official file of its name, or as collected by
            this package.
        references: returns for comparison, by name, such as the mean return of the dataset's episodes.
        planned_return: mean discounted return that the plans promised; None in older results, and where no step could
            be compared. See :class:`~trajectory_adacat.evaluation.planned.PlannedReturn`.
        realized_return: mean discounted return that followed from the same steps; None likewise.
    """

    dataset: str
    parameterization: str
    train_seed: int
    rollout_seed: int
    return_: float
    normalized_score: float | None
    length: int
    terminated: bool
    truncated: bool
    planner: dict[str, Any]
    checkpoint: dict[str, Any]
    environment: dict[str, Any]
    versions: dict[str, str]
    git_revision: str | None
    seconds_per_action: float
    data_status: Literal["verified", "unverified"]
    references: dict[str, float] = field(default_factory=dict)
    planned_return: float | None = None
    realized_return: float | None = None

    def save(self, folder: Path) -> Path:
        """Write the result to ``rollouts.jsonl`` in ``folder`` and return that path.

        A result of the same rollout seed in the same environment is replaced.

        A process that dies while writing leaves every other result readable.

        Raises:
            DataError: if a value has the wrong type or an existing result cannot be read; nothing is written.
            ValueError: if a setting is NaN or infinite; nothing is written.
        """
        return _write(self, folder, self.replaces)

    def replaces(self, old: "RolloutResult") -> bool:
        """Whether this result takes the place of ``old`` in an experiment's folder."""
        same_environment = without_nulls(old.environment) == without_nulls(self.environment)
        return old.rollout_seed == self.rollout_seed and same_environment

    @property
    def data_label(self) -> str:
        """The name of the training data for tables: that of the file where the data was loaded by a path."""
        label = self.checkpoint.get("dataset", {}).get("label")
        if label is not None:
            return str(label).removesuffix(UNVERIFIED_SUFFIX)
        return Path(self.dataset).name if self.dataset.endswith(FILE_SUFFIXES) else self.dataset

    @property
    def likelihood(self) -> float | None:
        """The negative log-likelihood of held-out data in nats per dimension; None where it is not recorded."""
        value = self.checkpoint.get(LIKELIHOOD)
        return None if value is None else float(value)

    @property
    def data_sha256(self) -> str | None:
        """The SHA-256 of the training data; None for results of earlier versions, which did not record it."""
        sha256 = self.checkpoint.get("dataset", {}).get("sha256")
        return None if sha256 is None else str(sha256)

    def to_json(self, path: Path) -> str:
        """Return one line of JSON, to be written to ``path``.

        Raises:
            DataError: if a value has the wrong type; the message names ``path``.
            ValueError: if a setting is NaN or infinite.
        """
        values = {_key(name): value for name, value in dataclasses.asdict(self).items()}
        self._check(values, Location(path))
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, location: Location) -> Self:
        """Read a result and check every key.

        Raises:
            DataError: if the text is not a JSON object, or a key is missing, unknown or of the wrong type; the
                message names ``location``.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise DataError(f"The rollout result {location} is not JSON: {error}.") from error
        if not isinstance(values, dict):
            raise DataError(f"The rollout result {location} is a {type(values).__name__}, not a JSON object.")
        cls._check(values, location)
        upgraded = _upgrade(values)
        return cls(**{"return_" if key == "return" else key: value for key, value in upgraded.items()})

    @classmethod
    def _check(cls, values: dict[str, Any], location: Location) -> None:
        types = {_key(name): annotation for name, annotation in get_type_hints(cls).items()}
        missing = dataclasses.MISSING
        fields = dataclasses.fields(cls)
        optional = {_key(f.name) for f in fields if f.default is not missing or f.default_factory is not missing}
        for key in types:
            if key not in values and key not in optional:
                raise DataError(f"The rollout result {location} lacks the key {key!r}: plan again to write it anew.")
        for key, value in values.items():
            if key not in types:
                raise DataError(f"The rollout result {location} has an unknown key {key!r}: {suggest(key, types)}")
            if not fits(value, types[key]):
                expected = type_name(types[key])
                raise DataError(f"The rollout result {location} has {key!r}: {value!r}, not of type {expected}.")
        for key in ("training", "dataset"):
            if not isinstance(values["checkpoint"].get(key, {}), dict):
                raise DataError(f"The rollout result {location} has {key!r} in 'checkpoint' that is not an object.")
        if not fits(values["checkpoint"].get(LIKELIHOOD), float | None):
            raise DataError(f"The rollout result {location} has {LIKELIHOOD!r} in 'checkpoint' that is not a number.")
        for key, inner in (("checkpoint", "hash"), ("environment", "environment"), ("environment", "dynamics")):
            if inner not in values[key]:
                raise DataError(f"The rollout result {location} lacks {inner!r} in {key!r}.")
            if not fits(values[key][inner], str | None if inner == "hash" else str):
                raise DataError(f"The rollout result {location} has {inner!r} in {key!r} that is not text.")


class ResultsWriter:
    """Write the results of one experiment, each as soon as its episode has ended.

    Args:
        folder: folder of the experiment; the first write creates it.
        planner: planner settings of all results in the folder.
        checkpoint_hash: hash of the checkpoint of all results in the folder.
        delete_others: whether the first write deletes results of other settings, another checkpoint or environment.

    Attributes:
        seeds: rollout seeds of the results written so far.

    Raises:
        DataError: if the folder holds such results and ``delete_others`` is False, or if one cannot be read.
    """

    def __init__(
        self, folder: Path, planner: dict[str, Any], checkpoint_hash: str | None, delete_others: bool = False
    ) -> None:
        self.seeds: set[int] = set()
        self._folder, self._planner, self._hash, self._delete_others = folder, planner, checkpoint_hash, delete_others
        others = [location for location, result in _read(_files_in(folder)).items() if self._is_other(result)]
        if others and not delete_others:
            raise InputError(
                f"{others[0]} is of other settings or of another checkpoint: choose another --exp_name or --suffix, "
                "or replace such results with --overwrite."
            )

    def write(self, result: RolloutResult) -> Path:
        """Write a result as :meth:`RolloutResult.save` does, and return the path of the file."""
        here = without_nulls(result.environment)

        def is_replaced(old: RolloutResult) -> bool:
            is_other = self._is_other(old) or without_nulls(old.environment) != here
            return result.replaces(old) or (self._delete_others and is_other)

        path = _write(result, self._folder, is_replaced)
        self.seeds.add(result.rollout_seed)
        return path

    def finished(self, environment: Mapping[str, Any]) -> set[int]:
        """Return the rollout seeds whose results in an environment are in the folder already.

        Empty while results of other settings are still to be deleted: the first new result does that.
        """
        here = without_nulls(environment)
        results = _read(_files_in(self._folder)).values()
        own = [r for r in results if not self._is_other(r) and without_nulls(r.environment) == here]
        return set() if self._delete_others and len(own) < len(results) else {result.rollout_seed for result in own}

    def _is_other(self, result: RolloutResult) -> bool:
        same_settings = without_nulls(result.planner) == without_nulls(self._planner)
        return not same_settings or result.checkpoint["hash"] != self._hash


def without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that are null, at every depth.

    New settings have the default None, so that a result that records null and an older one without the setting have
    the same settings.
    """
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def load_results(paths: Iterable[Path]) -> dict[Location, RolloutResult]:
    """Read the results of files, and of folders with all folders below them, sorted by location.

    Folders are searched for ``rollouts.jsonl`` and for the ``rollout_*.json`` of earlier versions. Symbolic links are
    followed, and each file is read once, however many ways lead to it. An incomplete last line, left by a process that
    died while writing it, is ignored.

    Raises:
        DataError: if a path does not exist, holds no results or cannot be searched, or a result cannot be read.
    """
    results: dict[Location, RolloutResult] = {}
    read: set[str] = set()  # the real paths of the files
    for path in paths:
        if not path.exists():
            raise DataError(f"There is no file or folder {path} to read rollout results from.")
        files = {os.path.realpath(file): file for file in reversed([path] if path.is_file() else list(_files(path)))}
        found = _read(file for real, file in files.items() if real not in read)
        if not found and read.isdisjoint(files):
            raise DataError(f"{path} holds no rollout results ({RESULTS_FILE}): run trajectory-adacat plan first.")
        read |= files.keys()
        results |= found
    return dict(sorted(results.items()))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the results files in a folder and in all folders below it; enter each real folder once."""

    def refuse(error: OSError) -> None:
        raise DataError(f"The folder {error.filename} cannot be searched for results: {error.strerror}.") from error

    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        yield from (Path(parent, name) for name in sorted([*names, *folders]) if _is_results_name(name))


def _is_results_name(name: str) -> bool:
    return name == RESULTS_FILE or fnmatch(name, OLD_PATTERN)


def _files_in(folder: Path) -> list[Path]:
    return [path for pattern in (RESULTS_FILE, OLD_PATTERN) for path in sorted(folder.glob(pattern))]


def _read(paths: Iterable[Path]) -> dict[Location, RolloutResult]:
    texts = {location: text for path in paths for location, text in _split(path, _read_text(path)).items()}
    return {location: RolloutResult.from_json(text, location) for location, text in texts.items()}


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise DataError(f"The rollout results {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The rollout results {path} are not JSON: {error}.") from error


def _split(path: Path, text: str) -> dict[Location, str]:
    """Split the text of a file into the JSON texts of its results; leave out an incomplete last line."""
    if path.suffix != ".jsonl":
        return {Location(path): text}
    *lines, last = text.split("\n")
    lines += [last] if _is_json(last) else []
    return {Location(path, number): line for number, line in enumerate(lines, 1) if line.strip()}


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _write(result: RolloutResult, folder: Path, is_replaced: Callable[[RolloutResult], bool]) -> Path:
    """Add a result to the file in ``folder``; remove what it replaces from that file and from those of old versions."""
    path = folder / RESULTS_FILE
    new = result.to_json(path) + "\n"
    old = _read_text(path) if path.exists() else ""
    lines = _split(path, old).items()
    kept = "".join(f"{text}\n" for location, text in lines if not is_replaced(RolloutResult.from_json(text, location)))
    folder.mkdir(parents=True, exist_ok=True)
    if kept == old:
        with path.open("a", encoding="utf-8", newline="\n") as file:  # keeps what another process appends meanwhile
            file.write(new)
    else:
        write_atomically(path, kept + new)
    for location, other in _read(folder.glob(OLD_PATTERN)).items():
        if is_replaced(other):
            location.path.unlink()
    return path


def _upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the settings of older results in today's form."""
    checkpoint, training = values["checkpoint"], values["checkpoint"].get("training")
    if training and is_flat(training):
        checkpoint = {**checkpoint, "training": nested_training(training)}
    environment = {key: value for key, value in values["environment"].items() if key != OLD_ENVIRONMENT_KEY}
    planner = nested_planner(values["planner"])
    return {**values, "checkpoint": checkpoint, "environment": environment, "planner": planner}


def _key(name: str) -> str:
    return name.removesuffix("_")  # "return" cannot name an attribute
