"""Rollout results as JSON: what is written is read, and nothing else is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, load_results

RESULT = RolloutResult(
    dataset="hopper-medium-v2",
    parameterization="adacat",
    train_seed=0,
    rollout_seed=3,
    return_=1234.5,
    normalized_score=38.6,
    length=412,
    terminated=True,
    truncated=False,
    planner={"horizon": 15, "drop_act": 0.0},
    checkpoint={"hash": "ab12"},
    environment={"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
    versions={"torch": "2.13.0"},
    git_revision=None,
    seconds_per_action=0.2,
    data_status="verified",
)


def written(folder: Path, **changes: Any) -> Path:
    path = RESULT.save(folder)
    values = {key: value for key, value in {**json.loads(path.read_text()), **changes}.items() if value is not ...}
    path.write_text(json.dumps(values))
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = RESULT.save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "rollout_3.json"
    assert RolloutResult.load(path) == RESULT


def test_the_files_keys(tmp_path: Path) -> None:
    values = json.loads(RESULT.save(tmp_path).read_text())
    assert set(values) == {
        *("dataset", "parameterization", "train_seed", "rollout_seed", "return", "normalized_score", "length"),
        *("terminated", "truncated", "planner", "checkpoint", "environment", "versions", "git_revision"),
        *("seconds_per_action", "data_status", "references"),
    }
    assert values["return"] == 1234.5


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    for changes in ({"return_": float("nan")}, {"versions": {"torch": 2}}, {"planner": {"a": float("inf")}}):
        with pytest.raises(ValueError, match=r"return|versions|JSON"):
            dataclasses.replace(RESULT, **changes).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rollout_3.json"]
    assert RolloutResult.load(tmp_path / "rollout_3.json") == RESULT


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rollout_3.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        RESULT.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rollout_3.json"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    dataclasses.replace(RESULT, length=7).save(tmp_path)
    assert [result.length for result in load_results([tmp_path]).values()] == [7]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"length": ...}, "lacks the key 'length'"),
        ({"lenght": 3}, "unknown key 'lenght'.*length"),
        ({"return": "much"}, "'return': 'much'.*float"),
        ({"return": None}, "'return': None"),
        ({"length": 3.5}, "'length': 3.5.*int"),
        ({"terminated": 1}, "'terminated': 1.*bool"),
        ({"train_seed": True}, "'train_seed': True.*int"),
        ({"normalized_score": float("inf")}, "'normalized_score': inf"),
        ({"data_status": "official"}, "'data_status': 'official'"),
        ({"versions": {"torch": 2}}, "'versions'"),
        ({"checkpoint": {}}, "'hash' in 'checkpoint'"),
        ({"environment": {"environment": "Hopper-v4"}}, "'dynamics' in 'environment'"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InputError, match=named) as raised:
        RolloutResult.load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_results_without_references_or_score_are_read(tmp_path: Path) -> None:
    result = RolloutResult.load(written(tmp_path, references=..., normalized_score=None))
    assert result.references == {}
    assert result.normalized_score is None


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "a list"), ("\0", "not JSON")])
def test_a_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rollout_0.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        load_results([path])
    assert str(path) in str(raised.value)


def test_folders_are_searched_for_rollouts_alone(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "a" / "b")
    dataclasses.replace(RESULT, rollout_seed=1).save(tmp_path / "c")
    (tmp_path / "c" / "args.json").write_text("{}")
    results = load_results([tmp_path, tmp_path / "c"])
    assert sorted(result.rollout_seed for result in results.values()) == [1, 3]


def test_missing_and_empty_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*nowhere"):
        load_results([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="holds no rollout_"):
        load_results([tmp_path])
