"""Gathering results: equal settings are pooled, and nothing else is."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.plotting.published import load_published
from trajectory_adacat.plotting.summary import Row, columns_of, gather, overall

BASE = RolloutResult(
    dataset="hopper-medium-v2",
    parameterization="adacat",
    train_seed=0,
    rollout_seed=0,
    return_=1000.0,
    normalized_score=None,
    length=1000,
    terminated=False,
    truncated=True,
    planner={"horizon": 15},
    checkpoint={"hash": "a"},
    environment={"environment": "Hopper", "dynamics": "v2"},
    versions={},
    git_revision=None,
    seconds_per_action=0.1,
    data_status="verified",
)
NATIVE = {"environment": "Hopper-v4", "dynamics": "native"}


def result(**changes: Any) -> RolloutResult:
    made = dataclasses.replace(BASE, **changes)
    return dataclasses.replace(made, normalized_score=normalized_score(made.dataset, made.return_))


def rows_of(results: Iterable[RolloutResult]) -> list[Row]:
    published = load_published(["paper", "peers"])
    return gather({Path(f"rollout_{i}.json"): result for i, result in enumerate(results)}, published)


def test_training_seeds_and_rollouts_are_pooled() -> None:
    runs = [result(train_seed=t, rollout_seed=r, return_=1000.0 + 10 * t + r) for t in range(2) for r in range(3)]
    (row,) = rows_of(runs)
    assert row.label == "hopper-medium-v2"
    assert row.measure == "score"
    assert row.values["adacat"] == [run.normalized_score for run in runs]
    assert row.summaries["adacat"].n == 6


def test_parameterizations_are_columns_in_the_papers_order() -> None:
    names = ["quantile", "random", "adacat", "uniform"]
    assert columns_of(rows_of(result(parameterization=name) for name in names)) == [
        *("uniform", "quantile", "adacat", "random")
    ]


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"data_status": "unverified"}, "hopper-medium-v2 (unverified)"),
        ({"environment": NATIVE}, "hopper-medium-v2 (native dynamics)"),
        ({"environment": {**BASE.environment, "mujoco": "3.5.0"}}, "hopper-medium-v2 (mujoco=3.5.0)"),
    ],
)
def test_another_environment_or_data_status_is_a_separate_row(changes: dict[str, Any], label: str) -> None:
    rows = rows_of([result(), result(**changes, return_=2000.0)])
    assert label in [row.label for row in rows]
    assert [row.summaries["adacat"].n for row in rows] == [1, 1]


def test_only_the_official_dataset_has_published_scores() -> None:
    runs = [result(), result(data_status="unverified"), result(environment=NATIVE)]
    rows = {row.label: row for row in rows_of([*runs, result(dataset="hopper-medium-collected")])}
    assert len(rows) == 4
    assert rows.pop("hopper-medium-v2").published["AdaCat"].mean == 69.2
    assert all(not row.published for row in rows.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"planner": {"horizon": 3}},
        {"planner": {"horizon": 15.0}},
        {"planner": {"horizon": "15"}},
        {"planner": {"horizon": [15]}},
        {"planner": {"horizon": None}},
        {"planner": {}},
        {"planner": {"horizon": 15, "plan_freq": None}},
        {"checkpoint": {"hash": "b", "training": {"k": 1}}},
        {"checkpoint": {"hash": "b", "training": {"model": {"k": 1}}}},
    ],
    ids=str,
)
def test_other_settings_are_a_separate_column(changes: dict[str, Any]) -> None:
    (row,) = rows_of([result(), result(rollout_seed=1, **changes)])
    assert len(row.values) == 2
    assert all(len(values) == 1 for values in row.values.values())
    assert all(column.startswith("adacat (") for column in row.values)


def test_a_column_is_named_by_the_settings_that_differ() -> None:
    (row,) = rows_of([result(planner={"search": {"horizon": h, "beam_width": 8}}, rollout_seed=h) for h in (3, 5)])
    assert set(row.values) == {"adacat (horizon=3)", "adacat (horizon=5)"}


def trained(rollout_seed: int, planner: dict[str, Any], **training: Any) -> RolloutResult:
    return result(rollout_seed=rollout_seed, planner=planner, checkpoint={"hash": "a", "training": training})


def test_a_setting_of_the_training_is_not_hidden_by_the_planners_of_the_same_name() -> None:
    planner = {"precision": "float32"}
    runs = [trained(seed, planner, precision=name) for seed, name in enumerate(("float32", "bfloat16"))]
    assert columns_of(rows_of(runs)) == ["adacat (training precision=bfloat16)", "adacat (training precision=float32)"]


def test_nested_settings_of_the_training_are_named_by_their_last_part() -> None:
    runs = [trained(seed, {}, model={"n_layer": 4, "n_head": n}) for seed, n in enumerate((2, 4))]
    assert columns_of(rows_of(runs)) == ["adacat (training n_head=2)", "adacat (training n_head=4)"]


def test_settings_that_are_equal_but_for_their_type_are_not_pooled() -> None:
    runs = [trained(seed, {}, k=value) for seed, value in enumerate((1, 1.0, True))]
    assert len(columns_of(rows_of(runs))) == 3


def test_values_that_are_printed_alike_are_distinguished_by_their_json_texts() -> None:
    runs = [result(planner={"percentile": value}, rollout_seed=seed) for seed, value in enumerate((90, "90", "unset"))]
    assert columns_of(rows_of([*runs, result(planner={}, rollout_seed=3)])) == [
        'adacat (percentile="90")',
        'adacat (percentile="unset")',
        *("adacat (percentile=90)", "adacat (percentile=unset)"),
    ]


def test_settings_may_differ_between_parameterizations() -> None:
    runs = [result(planner={"drop_act": 0.6}), result(parameterization="uniform", planner={"cdf_act": 0.6})]
    assert columns_of(rows_of(runs)) == ["uniform", "adacat"]


def test_the_same_run_twice_is_refused_with_both_locations() -> None:
    with pytest.raises(InputError, match=r"rollout_0\.json and rollout_1\.json .*train_seed 0 and rollout_seed 0"):
        rows_of([result(), result(return_=3.0)])


def test_without_reference_returns_the_measure_is_the_return() -> None:
    (row,) = rows_of([result(dataset="minari:mujoco/hopper/medium-v0", references={"dataset mean": 800.0})])
    assert row.measure == "return"
    assert row.values == {"adacat": [1000.0]}
    assert row.recorded == {"dataset mean": [800.0]}


def test_recorded_references_are_in_the_rows_measure() -> None:
    (row,) = rows_of([result(references={"dataset mean": 3234.3})])
    assert row.recorded["dataset mean"] == [pytest.approx(100.0)]


def test_overall_pools_datasets_of_one_kind_with_equal_numbers_of_runs() -> None:
    names = ["hopper-medium-v2", "walker2d-medium-v2", "hopper-medium-collected"]
    runs = [result(dataset=name, rollout_seed=seed, return_=1000.0 + seed) for name in names for seed in range(3)]
    runs += [result(parameterization="uniform", dataset=names[0])]  # on one dataset only
    rows = rows_of(runs)
    together = overall(rows)
    assert list(together) == ["all -v2 datasets"]
    assert list(together["all -v2 datasets"]) == ["adacat"]
    summary = together["all -v2 datasets"]["adacat"]
    means = [row.summaries["adacat"].mean for row in rows if row.dataset.endswith("-v2")]
    assert summary.mean == pytest.approx(sum(means) / 2)
    assert summary.n == 6
    assert summary.interval is not None
