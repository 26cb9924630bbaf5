"""The returns of rollouts, by plan and training seed, for the card of one of the trainings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import Location, RolloutResult, load_results, without_nulls


def gather_returns(paths: Sequence[Path], model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a record for each way to plan: how, where, and the returns and scores by training seed.

    Args:
        paths: results files, or folders of such files.
        model: the description of the checkpoint. All rollouts must be of trainings like its own, of any seed.

    Raises:
        InputError: if a rollout is of another training, if one training seed has several checkpoints, or if an earlier
            version wrote the settings of a plan.
    """
    records: dict[str, dict[str, Any]] = {}
    hashes: dict[tuple[str, str], str] = {}
    for location, result in (load_results(paths) if paths else {}).items():
        _check_training(location, result, model)
        where = {key: result.environment[key] for key in ("environment", "dynamics")}
        how = {"planner": without_nulls(result.planner), **where}
        key, seed = json.dumps(how, sort_keys=True), str(result.train_seed)
        if hashes.setdefault((key, seed), result.checkpoint["hash"]) != result.checkpoint["hash"]:
            raise InputError(f"{location} is of another checkpoint of training seed {seed} than rollouts before it.")
        record = records.setdefault(key, {**how, "returns": {}, "scores": {}})
        record["returns"].setdefault(seed, []).append(result.return_)
        if result.normalized_score is not None:
            record["scores"].setdefault(seed, []).append(result.normalized_score)
    return list(records.values())


def _check_training(location: Location, result: RolloutResult, model: Mapping[str, Any]) -> None:
    """Refuse a rollout of another training than the model's, seeds aside."""
    theirs, ours = result.checkpoint, model
    same = (
        result.data_sha256 == ours["dataset"]["sha256"]
        and result.parameterization == ours["parameterization"]
        and theirs.get("step") == ours["step"]
        and without_nulls(theirs.get("training", {})) == without_nulls(ours["training"])
    )
    if "search" not in result.planner:
        raise InputError(f"{location} has the planner settings of an earlier version: plan again.")
    if not same:
        raise InputError(f"{location} is of another training than the model's: other data, settings or step.")
