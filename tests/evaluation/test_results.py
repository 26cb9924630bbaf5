"""Rollout results as JSON: what is written is read back, and anything else is refused."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation import results
from trajectory_adacat.evaluation.results import Location, ResultsWriter, RolloutResult, load_results

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


def of_seed(seed: int, **changes: Any) -> RolloutResult:
    return dataclasses.replace(RESULT, rollout_seed=seed, **changes)


def write_json(path: Path, **changes: Any) -> Path:
    """Write a result with changed keys as the single line of ``path``; ``...`` removes a key."""
    values = {**json.loads(RESULT.to_json(path)), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}) + "\n")
    return path


def seeds_in(folder: Path) -> list[int]:
    return [result.rollout_seed for result in load_results([folder]).values()]


def test_round_trip(tmp_path: Path) -> None:
    path = RESULT.save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "rollouts.jsonl"
    assert load_results([path]) == {Location(path, 1): RESULT}


def test_the_keys_of_a_line(tmp_path: Path) -> None:
    (line,) = RESULT.save(tmp_path).read_text().splitlines()
    values = json.loads(line)
    assert set(values) == {
        *("dataset", "parameterization", "train_seed", "rollout_seed", "return", "normalized_score", "length"),
        *("terminated", "truncated", "planner", "checkpoint", "environment", "versions", "git_revision"),
        *("seconds_per_action", "data_status", "references", "planned_return", "realized_return"),
    }
    assert values["return"] == 1234.5


def test_each_result_is_a_line_of_one_file(tmp_path: Path) -> None:
    for seed in (3, 1, 2):
        of_seed(seed).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts.jsonl"]
    assert {str(location): result.rollout_seed for location, result in load_results([tmp_path]).items()} == {
        f"{tmp_path / 'rollouts.jsonl'}:{line}": seed for line, seed in enumerate((3, 1, 2), 1)
    }


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    for changes in ({"return_": float("nan")}, {"versions": {"torch": 2}}, {"planner": {"a": float("inf")}}):
        with pytest.raises(ValueError, match=r"return|versions|JSON"):
            dataclasses.replace(RESULT, **changes).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts.jsonl"]
    assert list(load_results([tmp_path]).values()) == [RESULT]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_seed(1).save(tmp_path)
    path = RESULT.save(tmp_path)
    before = path.read_text()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(RESULT, length=7).save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"rollouts.jsonl": before}


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl").mkdir()
    with pytest.raises(InputError, match=r"rollouts\.jsonl cannot be read: .*directory"):
        RESULT.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts.jsonl"]


def test_saving_a_seed_again_replaces_its_line(tmp_path: Path) -> None:
    for result in (of_seed(1), RESULT, of_seed(2), dataclasses.replace(RESULT, length=7)):
        result.save(tmp_path)
    lengths = {result.rollout_seed: result.length for result in load_results([tmp_path]).values()}
    assert lengths == {1: 412, 2: 412, 3: 7}
    assert seeds_in(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("kept_bytes", [1, 100, -2])
def test_an_incomplete_last_line_is_ignored_and_removed_by_the_next_write(tmp_path: Path, kept_bytes: int) -> None:
    path = of_seed(1).save(tmp_path)
    first = path.read_bytes()
    path.write_bytes(first + first[:kept_bytes])
    assert seeds_in(tmp_path) == [1]
    of_seed(2).save(tmp_path)
    assert seeds_in(tmp_path) == [1, 2]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_complete_last_line_without_a_line_break_is_kept(tmp_path: Path) -> None:
    path = of_seed(1).save(tmp_path)
    path.write_text(path.read_text().rstrip("\n"))
    assert seeds_in(tmp_path) == [1]
    of_seed(2).save(tmp_path)
    assert seeds_in(tmp_path) == [1, 2]


def test_a_new_seed_is_appended_so_that_processes_can_share_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_seed(1).save(tmp_path)
    read_text = results.read_text

    def read_while_another_process_appends(path: Path) -> str:
        text = read_text(path)
        monkeypatch.setattr(results, "read_text", read_text)
        of_seed(2).save(tmp_path)
        return text

    monkeypatch.setattr(results, "read_text", read_while_another_process_appends)
    of_seed(4).save(tmp_path)
    assert seeds_in(tmp_path) == [1, 2, 4]


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
        ({"checkpoint": {"hash": "a", "dataset": "walk"}}, "'dataset' in 'checkpoint' that is not an object"),
        ({"environment": {"environment": "Hopper-v4"}}, "'dynamics' in 'environment'"),
        ({"environment": {"environment": ["Hopper-v4"], "dynamics": "v2"}}, "'environment' in 'environment' that is"),
        ({"environment": ["Hopper-v4"]}, r"'environment': \['Hopper-v4'\], not of type"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    path = write_json(tmp_path / "rollouts.jsonl", **changes)
    with pytest.raises(InputError, match=named) as raised:
        load_results([path])
    assert f"{path}:1" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_results_without_references_or_score_are_read(tmp_path: Path) -> None:
    (result,) = load_results([write_json(tmp_path / "a.jsonl", references=..., normalized_score=None)]).values()
    assert result.references == {}
    assert result.normalized_score is None


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "a list"), ("\0", "not JSON")])
@pytest.mark.parametrize("name", ["rollout_0.json", "rollouts.jsonl"])
def test_a_damaged_result_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(f"{text}\n")
    with pytest.raises(InputError, match=message) as raised:
        load_results([path])
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"rollouts\.jsonl are not JSON"):
        load_results([tmp_path])


def test_folders_are_searched_for_results_alone(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "a" / "b")
    of_seed(1).save(tmp_path / "c")
    (tmp_path / "c" / "args.json").write_text("{}")
    (tmp_path / "c" / "metrics.jsonl").write_text("{}\n")
    assert sorted(result.rollout_seed for result in load_results([tmp_path, tmp_path / "c"]).values()) == [1, 3]


def test_missing_and_empty_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*nowhere"):
        load_results([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"holds no rollout results \(rollouts\.jsonl\)"):
        load_results([tmp_path])
    (tmp_path / "rollouts.jsonl").touch()
    with pytest.raises(InputError, match="holds no rollout results"):
        load_results([tmp_path])


def test_results_below_linked_folders_are_read(tmp_path: Path) -> None:
    of_seed(1).save(tmp_path / "logs" / "a")
    of_seed(2).save(tmp_path / "elsewhere" / "deep")
    (tmp_path / "logs" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert seeds_in(tmp_path / "logs") == [1, 2]


def test_loops_of_links_end_and_each_file_is_read_once(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for seed, name in enumerate(("a", "b/c", "z")):
        of_seed(seed).save(logs / name)
    (logs / "a" / "up").symlink_to(logs, target_is_directory=True)
    (logs / "b" / "itself").symlink_to(logs / "b", target_is_directory=True)
    (logs / "b" / "to_z").symlink_to(logs / "z", target_is_directory=True)
    (logs / "b" / "rollouts.jsonl").symlink_to(logs / "a" / "rollouts.jsonl")
    assert sorted(seeds_in(logs)) == [0, 1, 2]
    assert sorted(r.rollout_seed for r in load_results([logs, logs / "b" / "to_z", logs / "a"]).values()) == [0, 1, 2]


def test_relative_and_absolute_paths_of_one_folder_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RESULT.save(tmp_path / "logs")
    monkeypatch.chdir(tmp_path)
    assert len(load_results([Path("logs"), tmp_path / "logs", Path("logs", "rollouts.jsonl")])) == 1


def test_a_folder_that_cannot_be_searched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RESULT.save(tmp_path / "a")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match=r"closed cannot be searched for results: Permission denied"):
        load_results([tmp_path])


def test_results_of_another_environment_stay_when_a_seed_is_planned_there(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    native = dataclasses.replace(RESULT, environment={"environment": "Hopper-v4", "dynamics": "native"})
    native.save(tmp_path)
    dataclasses.replace(native, length=7, environment={**native.environment, "env_kwargs": None}).save(tmp_path)
    lengths = {result.environment["environment"]: result.length for result in load_results([tmp_path]).values()}
    assert lengths == {"trajectory_adacat/Hopper-v2": 412, "Hopper-v4": 7}


@pytest.mark.parametrize(
    ("changes", "label", "sha256"),
    [
        ({"checkpoint": {"hash": "a", "dataset": {"label": "walk.hdf5", "sha256": "f00"}}}, "walk.hdf5", "f00"),
        (
            {"checkpoint": {"hash": "a", "dataset": {"label": "hopper-medium-v2 (unverified)", "sha256": "f00"}}},
            *("hopper-medium-v2", "f00"),
        ),
        ({"dataset": "data/sets/walk.hdf5"}, "walk.hdf5", None),
        ({"dataset": "minari:mujoco/hopper/medium-v0"}, "minari:mujoco/hopper/medium-v0", None),
    ],
)
def test_the_training_data_is_named_by_its_file(changes: dict[str, Any], label: str, sha256: str | None) -> None:
    result = dataclasses.replace(RESULT, **changes)
    assert (result.data_label, result.data_sha256) == (label, sha256)


# -- results of earlier versions -----------------------------------------------------------------------------


def test_files_of_single_results_are_read_beside_lines(tmp_path: Path) -> None:
    old = write_json(tmp_path / "rollout_3.json")
    new = of_seed(4).save(tmp_path)
    assert load_results([tmp_path]) == {Location(old): RESULT, Location(new, 1): of_seed(4)}
    assert str(Location(old)) == str(old)


def test_writing_a_seed_again_removes_its_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "rollout_3.json")
    other = write_json(tmp_path / "rollout_4.json", rollout_seed=4)
    path = dataclasses.replace(RESULT, length=7).save(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([other, path])
    assert sorted((r.rollout_seed, r.length) for r in load_results([tmp_path]).values()) == [(3, 7), (4, 412)]


@pytest.mark.parametrize("value", [True, None])
def test_the_key_dynamics_verified_is_dropped(tmp_path: Path, value: bool | None) -> None:
    path = write_json(tmp_path / "a.jsonl", environment={**RESULT.environment, "dynamics_verified": value})
    assert list(load_results([path]).values()) == [RESULT]


def test_flat_settings_of_the_training_are_read_in_todays_form(tmp_path: Path) -> None:
    """They are then pooled with those of new results; the precision is younger than some of them."""
    values = json.loads((Path(__file__).parents[1] / "fixtures" / "format1" / "rollout.jsonl").read_text())
    assert "precision" not in values["checkpoint"]["training"]
    (old,) = load_results([write_json(tmp_path / "old.jsonl", **values)]).values()
    assert old.checkpoint["training"]["trainer"]["precision"] == "float32"
    assert old.checkpoint["training"]["model"]["n_layer"] == 3
    old.save(tmp_path / "new")
    assert list(load_results([tmp_path / "new"]).values()) == [old]


# -- the writer of an experiment -----------------------------------------------------------------------------

OTHERS: list[dict[str, Any]] = [{"planner": {"horizon": 3}}, {"checkpoint": {"hash": "cd34"}}]


def new_writer(folder: Path, delete_others: bool = False) -> ResultsWriter:
    return ResultsWriter(folder, RESULT.planner, "ab12", delete_others)


def test_the_writer_keeps_results_of_the_same_settings(tmp_path: Path) -> None:
    of_seed(1).save(tmp_path)
    writer = new_writer(tmp_path)
    assert writer.write(of_seed(2)) == tmp_path / "rollouts.jsonl"
    assert writer.write(of_seed(1, length=7)) == tmp_path / "rollouts.jsonl"
    assert writer.seeds == {1, 2}
    assert sorted((r.rollout_seed, r.length) for r in load_results([tmp_path]).values()) == [(1, 7), (2, 412)]


@pytest.mark.parametrize("changes", OTHERS, ids=str)
@pytest.mark.parametrize("old_file", [False, True])
def test_the_writer_refuses_a_folder_with_other_results(
    tmp_path: Path, changes: dict[str, Any], old_file: bool
) -> None:
    if old_file:
        write_json(tmp_path / "rollout_5.json", **changes)
    else:
        of_seed(1).save(tmp_path)
        of_seed(5, **changes).save(tmp_path)
    named = r"rollout_5\.json is" if old_file else r"rollouts\.jsonl:2 is"
    with pytest.raises(InputError, match=f"{named} of other settings.*--overwrite"):
        new_writer(tmp_path)


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_the_first_write_deletes_other_results_if_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_json(tmp_path / "rollout_7.json", rollout_seed=7, **changes)
    for result in (of_seed(1), of_seed(5, **changes), of_seed(6, **changes)):
        result.save(tmp_path)
    writer = new_writer(tmp_path, delete_others=True)
    assert sorted(seeds_in(tmp_path)) == [1, 5, 6, 7]
    writer.write(of_seed(2))
    assert seeds_in(tmp_path) == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts.jsonl"]


def test_settings_that_are_null_or_absent_are_the_same_for_the_writer(tmp_path: Path) -> None:
    settings = {**RESULT.planner, "search": {}, "scoring": {"name": "values"}}
    dataclasses.replace(RESULT, planner={**settings, "search": {"younger": None}}).save(tmp_path)
    ResultsWriter(tmp_path, settings, "ab12").write(of_seed(4, planner=settings))
    assert seeds_in(tmp_path) == [3, 4]


def test_plans_older_than_critics_were_scored_by_value_tokens(tmp_path: Path) -> None:
    dataclasses.replace(RESULT, planner={"search": {"horizon": 3}}).save(tmp_path)
    (result,) = load_results([tmp_path]).values()
    assert result.planner == {"search": {"horizon": 3}, "scoring": {"name": "values"}}


def test_the_writer_leaves_experiments_below_its_folder_alone(tmp_path: Path) -> None:
    dataclasses.replace(RESULT, planner={}).save(tmp_path / "inner")
    new_writer(tmp_path, delete_others=True).write(RESULT)
    assert len(load_results([tmp_path])) == 2


def test_the_writer_refuses_a_damaged_file_before_any_episode(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="lacks the key"):
        new_writer(tmp_path, delete_others=True)


def test_older_results_have_no_planned_return(tmp_path: Path) -> None:
    values = json.loads(RESULT.to_json(tmp_path))
    del values["planned_return"], values["realized_return"]
    old = RolloutResult.from_json(json.dumps(values), Location(tmp_path))
    assert (old.planned_return, old.realized_return) == (None, None)
    new = dataclasses.replace(RESULT, planned_return=3.0, realized_return=2.0)
    assert RolloutResult.from_json(new.to_json(tmp_path), Location(tmp_path)) == new
