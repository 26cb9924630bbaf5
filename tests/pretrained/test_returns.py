"""Returns by plan and training; what is of other trainings is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.pretrained.returns import gather_returns

MODEL: dict[str, Any] = {
    "parameterization": "adacat",
    "step": 7,
    "train_seed": 0,
    "training": {"n_steps": 7},
    "dataset": {"sha256": "ab"},
}
SEARCH = {"search": {"horizon": 3, "beam_width": 2, "n_expand": 2}, "scoring": {"name": "values"}}
RESULT = RolloutResult(
    dataset="own",
    parameterization="adacat",
    train_seed=0,
    rollout_seed=0,
    return_=1.0,
    normalized_score=10.0,
    length=4,
    terminated=True,
    truncated=False,
    planner=SEARCH,
    checkpoint={"hash": "h0", "step": 7, "training": {"n_steps": 7}, "dataset": {"sha256": "ab", "label": "own"}},
    environment={"environment": "Line-v0", "dynamics": "native", "gymnasium": "1.4.0"},
    versions={},
    git_revision=None,
    seconds_per_action=0.1,
    data_status="verified",
)


def save(folder: Path, seed: int = 0, hash_: str = "h0", **changes: Any) -> Path:
    checkpoint = {**RESULT.checkpoint, "hash": hash_, **changes.pop("checkpoint", {})}
    return dataclasses.replace(RESULT, train_seed=seed, checkpoint=checkpoint, **changes).save(folder)


def test_rollouts_are_grouped_by_plan_and_training_seed(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "a", rollout_seed=1, return_=2.0, normalized_score=20.0)
    save(tmp_path / "b", seed=1, hash_="h1", return_=5.0, normalized_score=50.0)
    save(tmp_path / "c", planner={**SEARCH, "plan_freq": 2}, normalized_score=None)
    first, other = gather_returns([tmp_path], MODEL)
    assert first["returns"] == {"0": [1.0, 2.0], "1": [5.0]}
    assert first["scores"] == {"0": [10.0, 20.0], "1": [50.0]}
    assert (first["planner"], first["environment"], first["dynamics"]) == (SEARCH, "Line-v0", "native")
    assert (other["planner"]["plan_freq"], other["returns"], other["scores"]) == (2, {"0": [1.0]}, {})


def test_no_rollouts_are_no_records() -> None:
    assert gather_returns([], MODEL) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"parameterization": "uniform"},
        {"checkpoint": {"step": 6}},
        {"checkpoint": {"training": {"n_steps": 8}}},
        {"checkpoint": {"dataset": {"sha256": "cd", "label": "own"}}},
    ],
    ids=str,
)
def test_rollouts_of_another_training_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    save(tmp_path, **changes)
    with pytest.raises(InputError, match=r"rollouts.jsonl:1 is of another training than the model's"):
        gather_returns([tmp_path], MODEL)


def test_settings_in_the_form_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    save(tmp_path, planner={"horizon": 3})
    with pytest.raises(InputError, match=r"rollouts.jsonl:1 .* earlier version: plan again"):
        gather_returns([tmp_path], MODEL)


def test_two_checkpoints_of_one_seed_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    save(tmp_path, hash_="h1", rollout_seed=1)
    with pytest.raises(InputError, match="another checkpoint of training seed 0"):
        gather_returns([tmp_path], MODEL)
