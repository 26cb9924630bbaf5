"""One rollout's result as a JSON file: everything that a table or a figure needs, and where it came from."""

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from trajectory_adacat.checks import fits, suggest, type_name
from trajectory_adacat.errors import InputError
from trajectory_adacat.legacy import is_flat, nested_planner, nested_training

FILE_PATTERN = "rollout_*.json"


@dataclass(frozen=True)
class RolloutResult:
    """The result of one episode driven by a planner.

    Attributes:
        dataset: the name under which the training data was loaded.
        parameterization: ``adacat``, ``uniform``, ``quantile``, or another name for what drove the episode.
        train_seed: seed of the training run.
        rollout_seed: seed of the episode.
        return_: undiscounted return; ``return`` in the file.
        normalized_score: 0 to 100 (D4RL's and Trajectory Transformer's own is the fraction); None without references.
        length: environment steps.
        terminated: whether the episode came to a real end.
        truncated: whether it was cut.
        planner: the settings that define the method. Only rollouts with equal settings are pooled, so no seed and no
            path belongs here.
        checkpoint: at least its ``hash``, None where nothing was trained. Where it says the settings of its
            ``training`` (again no seed and no path), only equal ones are pooled.
        environment: at least its id as ``environment`` and its ``dynamics``, such as ``v2`` or ``native``;
            ``dynamics_verified`` is False where these were not checked against the original. Only equal environments
            are pooled.
        versions: of the libraries, by name.
        git_revision: of the code, None outside a clone.
        seconds_per_action: wall-clock seconds for each planned action.
        data_status: ``verified`` when the data was identified as the official file of its name, or as collected by
            this package.
        references: returns to set the result beside, by name, such as the mean return of the dataset's episodes.
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

    def save(self, folder: Path) -> Path:
        """Write ``rollout_<rollout_seed>.json`` in ``folder`` in one step, and return its path.

        Raises:
            InputError: if a value is of the wrong type, NaN or infinite; nothing is written.
        """
        path = folder / FILE_PATTERN.replace("*", str(self.rollout_seed))
        values = {_key(name): value for name, value in dataclasses.asdict(self).items()}
        self._check(values, path)
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{path.name}.{os.getpid()}"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a result, every key of it checked.

        Raises:
            InputError: if the file is missing or no JSON, or a key is missing, unknown or of the wrong type.
        """
        values = _read_object(path)
        cls._check(values, path)
        values = _upgraded(values)
        return cls(**{"return_" if key == "return" else key: value for key, value in values.items()})

    @classmethod
    def _check(cls, values: dict[str, Any], path: Path) -> None:
        types = {_key(name): annotation for name, annotation in get_type_hints(cls).items()}
        optional = {_key(f.name) for f in dataclasses.fields(cls) if f.default_factory is not dataclasses.MISSING}
        for key in types:
            if key not in values and key not in optional:
                raise InputError(f"The rollout result {path} lacks the key {key!r}: write it again with a plan run.")
        for key, value in values.items():
            if key not in types:
                raise InputError(f"The rollout result {path} has an unknown key {key!r}: {suggest(key, types)}")
            if not fits(value, types[key]):
                wanted = type_name(types[key])
                raise InputError(f"The rollout result {path} has {key!r}: {value!r}, which is not of type {wanted}.")
        for key, inner in (("checkpoint", "hash"), ("environment", "environment"), ("environment", "dynamics")):
            if inner not in values[key]:
                raise InputError(f"The rollout result {path} lacks {inner!r} in {key!r}.")


def load_results(paths: Iterable[Path]) -> dict[Path, RolloutResult]:
    """Read results from files, and from folders with all below them (their ``rollout_*.json``), in sorted order.

    Raises:
        InputError: if a path does not exist, holds no results, or a file cannot be read as one.
    """
    files: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path} to read rollout results from.")
        found = {path} if path.is_file() else set(path.rglob(FILE_PATTERN))
        if not found:
            raise InputError(f"The folder {path} holds no {FILE_PATTERN}: run trajectory-adacat plan first.")
        files |= found
    return {path: RolloutResult.load(path) for path in sorted(files)}


def _upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """Bring the settings of an older result into today's form."""
    training = values["checkpoint"].get("training")
    if training and is_flat(training):
        values["checkpoint"] = {**values["checkpoint"], "training": nested_training(training)}
    return {**values, "planner": nested_planner(values["planner"])}


def _key(name: str) -> str:
    return name.removesuffix("_")  # "return" is no name for an attribute


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The rollout result {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"The rollout result {path} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"The rollout result {path} holds a {type(values).__name__} in place of an object of keys.")
    return values
