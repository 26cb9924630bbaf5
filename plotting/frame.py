"""A table of rollout results with their settings as columns."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajectory_adacat.evaluation.results import RolloutResult, without_nulls
from trajectory_adacat.evaluation.scores import own_environments, reference_returns

if TYPE_CHECKING:
    import pandas as pd

SEEDS = ["train_seed", "rollout_seed"]
# Prefixes of the frame's columns of settings. Planner and training have settings of the same names.
ENVIRONMENT, METHOD, TRAINING = "environment.", "method.", "method.training "
STEP = "method.checkpoint step"
UNSET = "unset"  # no JSON text
UNKNOWN = "unknown "  # before the name of data whose SHA-256 is not recorded


def to_frame(results: Mapping[Any, RolloutResult]) -> "pd.DataFrame":
    """Return a frame with one row for each result, its attributes and its settings as columns.

    The settings are ``environment.*``, ``method.*`` (of the planner) and ``method.training *``, nested names joined by
    dots. They are JSON texts, so that 1, 1.0 and true differ; a setting that is null or that a result does not have is
    "unset". ``label``, ``data`` and ``place`` say what the row is of: see :func:`_data` and :func:`_place`.
    """
    import pandas as pd  # slow to import

    frame = pd.DataFrame({"location": str(location), **vars(result)} for location, result in results.items())
    frame["folder"] = [Path(getattr(location, "path", location)).parent.name for location in results]
    frame["likelihood"] = [result.likelihood for result in results.values()]
    frame["label"] = [result.data_label for result in results.values()]
    frame["data"] = [_data(result) for result in results.values()]
    frame["place"] = [_place(result) for result in results.values()]
    frame["hash"] = [str(result.checkpoint["hash"] or UNSET) for result in results.values()]
    settings = pd.DataFrame(
        {
            **_flatten(result.environment, ENVIRONMENT),
            **_flatten(result.planner, METHOD),
            **_flatten(_training(result), TRAINING),
            **({} if result.checkpoint.get("step") is None else {STEP: json.dumps(result.checkpoint["step"])}),
        }
        for result in results.values()
    )
    return frame.join(settings.fillna(dict.fromkeys(settings, UNSET)))


def _data(result: RolloutResult) -> str:
    """Return what identifies the training data: its SHA-256, or that it is unknown, with the name as given.

    It is empty for verified official data: their bytes are known, also for results that do not record them.
    """
    if result.data_status == "verified" and result.dataset.endswith("-v2"):
        return ""
    return result.data_sha256 or UNKNOWN + result.dataset


def _place(result: RolloutResult) -> str:
    """Return the qualifier for where the rollout was: nothing, ``native dynamics``, or another environment's id."""
    if _is_elsewhere(result):
        return f"in {result.environment['environment']}"
    dynamics = result.environment["dynamics"]
    return "" if dynamics == "v2" else f"{dynamics} dynamics"


def _is_elsewhere(result: RolloutResult) -> bool:
    """Whether the environment is not the dataset's own, as far as the result says what that is."""
    environment, own = result.environment["environment"], own_environments(result.dataset)
    if own is not None:  # without a score the robot or its rewards were changed
        has_references = reference_returns(result.dataset) is not None
        return environment not in own or (has_references and result.normalized_score is None)
    recorded = result.checkpoint.get("dataset", {})
    if "environment" not in recorded or result.normalized_score is not None:
        return False
    name = recorded["environment"]
    return environment not in ((own_environments(name) if name else None) or {name})


def _training(result: RolloutResult) -> dict[str, Any]:
    """Return the settings of the training without the dataset's name, which may be one of several paths to a file."""
    return {key: value for key, value in result.checkpoint.get("training", {}).items() if key != "dataset"}


def _flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in without_nulls(settings).items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": json.dumps(value)}
    return flat
