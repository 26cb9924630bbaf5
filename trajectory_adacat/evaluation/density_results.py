"""Results of density models as lines of JSON: all that a table or a figure needs, and where it came from."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from trajectory_adacat.checks import fits, type_name
from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.files import parse_json, read_text, write_atomically
from trajectory_adacat.training.lock import rewriting

RESULTS_FILE = "density.jsonl"
# Settings of the samples of results that do not record them.
OLD_SAMPLING: dict[str, dict[str, Any]] = {
    "images": {"n_samples": 64},
    "audio": {"n_clips": 4, "clip_seconds": 0.5},
}


@dataclass(frozen=True)
class DensityResult:
    """The test likelihood of one training.

    Attributes:
        experiment: ``tabular``, ``images`` or ``audio``.
        dataset: name of the data.
        form: the head, such as ``adacat``, or the name of another method.
        seed: of the training.
        nll: negative log-likelihood of the test split, under the weights with the lowest one of the validation split.
        validation_nll: that of the validation split.
        unit: of both.
        n_parameters: number of the model's parameters.
        n_outputs: numbers that the model gives for each conditional density; None where it has no such number.
        n_steps: number of updates.
        seconds: of the training, by clock: ``wall``, and ``cpu``, of its process.
        settings: of the method, nested. Trainings are pooled only if these are equal.
        data: at least ``sha256``.
        versions: version of each library, by name, and the ``processor``.
        git_revision: revision of the code; None outside a clone.
        measures: further numbers, by name.
        sampling: settings of the samples drawn after the training. They do not change ``nll``, but some measures.
    """

    experiment: str
    dataset: str
    form: str
    seed: int
    nll: float
    validation_nll: float
    unit: str
    n_parameters: int
    n_outputs: int | None
    n_steps: int
    seconds: dict[str, float]
    settings: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]
    git_revision: str | None
    measures: dict[str, float]
    sampling: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two results the same training."""
        settings = json.dumps(self.settings, sort_keys=True)
        return self.experiment, self.dataset, str(self.data.get("sha256")), self.form, str(self.seed), settings

    def save(self, folder: Path) -> Path:
        """Write the result to ``density.jsonl`` in ``folder``, in place of an older one of the same training.

        Several processes may write there: each waits for the others.

        Raises:
            InputError: if an older result there cannot be read, or another process does not stop writing.
            ValueError: if a number is not finite.
        """
        path = folder / RESULTS_FILE
        line = json.dumps(asdict(self), allow_nan=False)
        folder.mkdir(parents=True, exist_ok=True)
        with rewriting(path):
            old = _read(path) if path.exists() else []
            lines = [json.dumps(asdict(result)) for result in old if result.key != self.key]
            write_atomically(path, "".join(f"{text}\n" for text in [*lines, line]))
        return path

    @classmethod
    def from_json(cls, text: str, place: str) -> Self:
        """Read a result and check every key.

        Raises:
            InputError: naming ``place`` and the key, if one is missing, unknown or of the wrong type.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise InputError(f"The density result {place} is not JSON: {error}.") from error
        types = get_type_hints(cls)
        names = {field.name for field in fields(cls)}
        if isinstance(values, dict) and "sampling" not in values:
            values["sampling"] = OLD_SAMPLING.get(str(values.get("experiment")), {})
        if not isinstance(values, dict) or values.keys() != names:
            found = set(values) if isinstance(values, dict) else set()
            raise InputError(f"The density result {place} lacks or adds keys: {', '.join(sorted(found ^ names))}.")
        for name, value in values.items():
            if not fits(value, types[name]):
                raise InputError(
                    f"The density result {place} has {name!r}: {value!r}, not of type {type_name(types[name])}."
                )
        return cls(**values)


def load_density_results(paths: Iterable[Path]) -> list[DensityResult]:
    """Read the results of files, and of folders with all folders below them; of the same training, the last one.

    Raises:
        InputError: if a path does not exist or holds no results, or a result cannot be read.
    """
    found: dict[tuple[str, ...], DensityResult] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob(RESULTS_FILE))
        results = [result for file in files for result in _read(file)]
        if not results:
            raise InputError(f"{path} holds no density results ({RESULTS_FILE}): run trajectory-adacat density first.")
        found |= {result.key: result for result in results}
    return list(found.values())


def _read(path: Path) -> list[DensityResult]:
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise DataError(f"The density results {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The density results {path} are not JSON: {error}.") from error
    return [DensityResult.from_json(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
