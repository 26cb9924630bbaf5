"""Whether the output of a job is there and whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import MODEL, find_checkpoint, read_description
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.errors import InputError
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
        return is_last and same and _has_its_files(checkpoint, description)
    except (InputError, OSError, KeyError):
        return False


def _has_its_files(checkpoint: Path, description: Mapping[str, Any]) -> bool:
    return all(file_sha256(checkpoint / name) == sha256 for name, sha256 in description["files"].items())


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
