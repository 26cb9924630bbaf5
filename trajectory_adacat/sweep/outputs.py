"""Whether the output of a job is there and whole, and what an unfinished one can go on from."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import (
    MODEL,
    NAME,
    find_checkpoint,
    read_any_description,
    read_description,
    restore_replaced,
)
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE as DENSITY_FILE
from trajectory_adacat.evaluation.density_results import DensityResult, load_density_results
from trajectory_adacat.evaluation.results import load_results, without_nulls


def is_trained(folder: Path, settings: Mapping[str, Any], seed: int, n_steps: int | None, kind: str = MODEL) -> bool:
    """Return whether a training with these settings has ended and its last checkpoint has the files' hashes.

    Args:
        folder: of the experiment.
        settings: what its checkpoints record as their ``training``.
        seed: of the training.
        n_steps: number of its steps; None takes the number that the checkpoint records.
        kind: of the checkpoint.
    """
    try:
        checkpoint = find_checkpoint(folder)
        description = read_description(checkpoint, kind)
        recorded = (description["training"], description["train_seed"])
        is_last = description["step"] == description.get("n_steps", n_steps)
        same = recorded == (json.loads(json.dumps(settings)), seed)
        is_logged = "unlogged" not in description  # a signal came before its evaluation
        return is_last and is_logged and same and _has_its_files(checkpoint, description)
    except (InputError, OSError, KeyError):
        return False


@dataclass(frozen=True)
class DensityTraining:
    """What tells the result of a density model's training from others.

    Attributes:
        dataset: name of the data.
        form: of the outputs.
        seed: of the training.
        settings: of the method, nested.
        sampling: settings of its samples.
        sha256: of the data; None, where they cannot be read, stands for any.
    """

    dataset: str
    form: str
    seed: int
    settings: Mapping[str, Any]
    sampling: Mapping[str, Any]
    sha256: str | None

    def result(self, folder: Path) -> DensityResult | None:
        """Return the last result of this training in a folder's results; None if there is none."""
        try:
            results = load_density_results([folder / DENSITY_FILE])
        except (InputError, OSError):
            return None
        return next((result for result in reversed(results) if self._has(result)), None)

    def _has(self, result: DensityResult) -> bool:
        own = self.dataset, self.form, self.seed, json.loads(json.dumps([self.settings, self.sampling]))
        found = result.dataset, result.form, result.seed, [result.settings, result.sampling]
        return own == found and self.sha256 in (None, result.data.get("sha256"))


def set_aside_damaged(folder: Path) -> bool:
    """Rename damaged checkpoints that are later than the last whole one, so that a training goes on from that one.

    ``step_00000100`` becomes ``damaged_step_00000100``.

    Returns:
        Whether there is a whole checkpoint.
    """
    restore_replaced(folder)
    found = {int(match[1]): path for path in folder.glob("step_*") if (match := NAME.fullmatch(path.name))}
    for _, checkpoint in sorted(found.items(), reverse=True):
        if _is_whole(checkpoint):
            return True
        aside = checkpoint.with_name(f"damaged_{checkpoint.name}")
        shutil.rmtree(aside, ignore_errors=True)  # left by an earlier time
        checkpoint.rename(aside)
    return False


def _is_whole(checkpoint: Path) -> bool:
    try:
        return _has_its_files(checkpoint, read_any_description(checkpoint))
    except (InputError, OSError):
        return False


def _has_its_files(checkpoint: Path, description: Mapping[str, Any]) -> bool:
    """Return whether the files have their hashes; only files in the folder itself are opened."""
    files = description["files"].items()
    return all(Path(name).name == name and file_sha256(checkpoint / name) == sha256 for name, sha256 in files)


def are_rolled_out(
    folder: Path, seeds: range, planner: Mapping[str, Any], checkpoint_hash: str, environment: Mapping[str, Any]
) -> bool:
    """Return whether a folder holds a result of each rollout seed, all of one planner, checkpoint and environment."""
    try:
        results = load_results([folder]).values()
    except InputError:
        return False
    expected = json.loads(json.dumps([without_nulls(planner), checkpoint_hash, without_nulls(environment)]))
    records = [
        [without_nulls(result.planner), result.checkpoint["hash"], without_nulls(result.environment)]
        for result in results
    ]
    return {result.rollout_seed for result in results} >= set(seeds) and all(record == expected for record in records)
