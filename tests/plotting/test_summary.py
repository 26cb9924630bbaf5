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
from trajectory_adacat.plotting.summary import Row, columns_of, gather, opponent, overall, overall_improvements

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
    environment={"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
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
    scores = [run.normalized_score for run in runs]
    assert row.values["adacat"] == [scores[:3], scores[3:]]
    assert (row.summaries["adacat"].n, row.summaries["adacat"].trainings) == (6, 2)


def test_a_setting_that_is_null_is_the_same_as_one_that_is_absent() -> None:
    planners: list[dict[str, Any]] = [{"search": {"k": 1}}, {"search": {"k": 1, "new": None}, "newer": None}]
    runs = [result(rollout_seed=seed, planner=planner) for seed, planner in enumerate(planners)]
    runs += [result(rollout_seed=2, planner=planners[0], checkpoint={"hash": "a", "training": {"younger": None}})]
    runs += [result(rollout_seed=3, planner=planners[0], environment={**BASE.environment, "env_kwargs": None})]
    (row,) = rows_of(runs)
    assert [len(rollouts) for rollouts in row.values["adacat"]] == [4]


def test_planned_and_realized_returns_separate_nothing() -> None:
    returns: list[dict[str, Any]] = [{}, {"planned_return": 9.0, "realized_return": 8.0}, {"planned_return": 7.0}]
    (row,) = rows_of(result(rollout_seed=seed, **found) for seed, found in enumerate(returns))
    assert [len(rollouts) for rollouts in row.values["adacat"]] == [3]
    assert columns_of([row]) == ["adacat"]


def test_a_column_knows_its_falls_its_promises_and_its_planner() -> None:
    falls: list[dict[str, Any]] = [
        {"planned_return": 9.0, "realized_return": 6.0},
        {"planned_return": 5.0, "realized_return": 2.0, "terminated": True, "truncated": False, "length": 300},
        {"planned_return": 5.0, "realized_return": 0.0},
        {},
    ]
    (row,) = rows_of(result(rollout_seed=seed, **found) for seed, found in enumerate(falls))
    assert row.fallen == {"adacat": [300]}
    assert row.promises == {"adacat": 2.0}  # of 1.5 and 2.5
    assert row.planners == {"adacat": BASE.planner}
    assert rows_of([BASE])[0].promises == {}


def test_rollouts_without_training_stand_in_one_group() -> None:
    runs = [result(checkpoint={"hash": None}, rollout_seed=seed, train_seed=seed) for seed in range(3)]
    (row,) = rows_of(runs)
    assert (row.summaries["adacat"].n, row.summaries["adacat"].trainings) == (3, 0)


# -- the training data -------------------------------------------------------------------------------------------


def of_data(sha256: str | None, name: str = "walk.hdf5", **changes: Any) -> RolloutResult:
    data = {} if sha256 is None else {"dataset": {"label": Path(name).name, "sha256": sha256, "environment": "Hopper"}}
    checkpoint = {"hash": "a", "training": {"dataset": name}, **data}
    environment = {"environment": "Hopper", "dynamics": "v2"}
    values = {"dataset": name, "checkpoint": checkpoint, "data_status": "unverified", "environment": environment}
    return result(**{**values, **changes})


def test_paths_of_one_file_are_one_dataset_labelled_by_its_name() -> None:
    names = ("walk.hdf5", "data/walk.hdf5", "/home/me/data/walk.hdf5")
    (row,) = rows_of(of_data("f" * 64, name, rollout_seed=seed) for seed, name in enumerate(names))
    assert row.label == "walk.hdf5 (unverified)"
    assert row.summaries["adacat"].n == 3


def test_two_files_of_one_name_are_two_rows_with_short_hashes() -> None:
    hashes = ("ab" * 32, "ab" * 5 + "cd" * 27)
    rows = rows_of(of_data(sha256, return_=float(len(sha256))) for sha256 in hashes)
    assert {row.label for row in rows} == {
        *("walk.hdf5 (unverified, data abababababa)", "walk.hdf5 (unverified, data abababababc)")
    }


def test_results_without_a_hash_are_one_unknown_data_set() -> None:
    rows = rows_of([*(of_data(None, rollout_seed=seed) for seed in range(2)), of_data("ab" * 32)])
    assert {row.label: row.summaries["adacat"].n for row in rows} == {
        "walk.hdf5 (unverified, data abababab)": 1,
        "walk.hdf5 (unverified, data unknown)": 2,
    }


def test_unknown_data_of_two_paths_are_not_pooled() -> None:
    rows = rows_of([of_data(None, "a/walk.hdf5"), of_data(None, "b/walk.hdf5")])
    assert {row.label for row in rows} == {
        *("walk.hdf5 (unverified, data unknown a/walk.hdf5)", "walk.hdf5 (unverified, data unknown b/walk.hdf5)")
    }


def test_collected_sets_of_other_sizes_or_seeds_are_not_pooled() -> None:
    name = "hopper-medium-collected"
    data = [{"label": name, "sha256": sha256, "environment": name} for sha256 in ("ab" * 32, "cd" * 32)]
    rows = rows_of(result(dataset=name, checkpoint={"hash": each["sha256"], "dataset": each}) for each in data)
    assert [row.label for row in rows] == [f"{name} (data abababab)", f"{name} (data cdcdcdcd)"]
    assert [row.measure for row in rows] == ["score", "score"]


def test_verified_official_data_is_known_without_its_hash() -> None:
    data = {"label": "hopper-medium-v2", "sha256": "ab" * 32, "environment": "hopper-medium-v2"}
    (row,) = rows_of([result(), result(rollout_seed=1, checkpoint={"hash": "a", "dataset": data})])
    assert row.label == "hopper-medium-v2"
    assert row.summaries["adacat"].n == 2


def test_a_method_without_training_stands_in_the_row_of_the_only_data() -> None:
    name = "hopper-medium-collected"
    data = {"label": name, "sha256": "ab" * 32, "environment": name}
    planned = result(dataset=name, checkpoint={"hash": "a", "step": 3, "dataset": data})
    (row,) = rows_of([planned, result(dataset=name, parameterization="random policy", checkpoint={"hash": None})])
    assert (row.label, columns_of([row])) == (name, ["adacat", "random policy"])


# -- checkpoints -------------------------------------------------------------------------------------------------


def test_steps_of_one_training_are_columns() -> None:
    (row,) = rows_of(result(checkpoint={"hash": f"{step}", "step": step}) for step in (10, 20))
    assert columns_of([row]) == ["adacat (checkpoint step=10)", "adacat (checkpoint step=20)"]


def test_two_trainings_of_one_seed_are_columns_and_the_other_seeds_stay_pooled() -> None:
    checkpoints = [(0, "ab" * 32), (0, "cd" * 32), (1, "ef" * 32), (2, "12" * 32)]
    (row,) = rows_of(result(train_seed=seed, checkpoint={"hash": found, "step": 5}) for seed, found in checkpoints)
    assert {column: summary.trainings for column, summary in row.summaries.items()} == {
        "adacat (train_seed=0, checkpoint=abababab)": 1,
        "adacat (train_seed=0, checkpoint=cdcdcdcd)": 1,
        "adacat (other train_seeds)": 2,
    }


# -- environments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["Hopper-v5", "trajectory_adacat/Walker2d-v2"])
@pytest.mark.parametrize("is_old", [True, False])
def test_another_environment_is_named_and_has_returns(environment: str, is_old: bool) -> None:
    """Earlier versions recorded a score of the dataset's name whatever environment ran."""
    other = result(environment={"environment": environment, "dynamics": "native"}, rollout_seed=1)
    other = other if is_old else dataclasses.replace(other, normalized_score=None)
    rows = {row.label: row for row in rows_of([result(), other])}
    assert rows.keys() == {"hopper-medium-v2", f"hopper-medium-v2 (in {environment})"}
    row = rows[f"hopper-medium-v2 (in {environment})"]
    assert (row.measure, row.values, row.published) == ("return", {"adacat": [[1000.0]]}, {})


def test_the_same_robot_with_other_rewards_is_named_and_has_returns() -> None:
    """Where options change the environment, the results record no score."""
    where = {**BASE.environment, "env_kwargs": {"healthy_reward": 0.0}}
    (row,) = rows_of([dataclasses.replace(BASE, environment=where)])
    assert row.label == "hopper-medium-v2 (in trajectory_adacat/Hopper-v2)"
    assert row.measure == "return"


def test_an_own_datasets_environment_is_named_where_another_ran() -> None:
    other = of_data("ab" * 32, environment={"environment": "Walk-v1", "dynamics": "native"}, rollout_seed=1)
    labels = {row.label for row in rows_of([of_data("ab" * 32), other])}
    assert labels == {"walk.hdf5 (unverified)", "walk.hdf5 (in Walk-v1, unverified)"}


def test_recorded_reference_returns_scale_the_references() -> None:
    where = {"environment": "Reach-v1", "dynamics": "native", "reference_returns": [0.0, 50.0]}
    scored = dataclasses.replace(
        of_data("ab" * 32, environment=where, references={"dataset mean": 25.0}), normalized_score=40.0
    )
    (row,) = rows_of([scored])
    assert (row.measure, row.recorded) == ("score", {"dataset mean": [50.0]})


# -- columns -----------------------------------------------------------------------------------------------------


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
        {"checkpoint": {"hash": "b", "training": {"k": 1}}},
        {"checkpoint": {"hash": "b", "training": {"model": {"k": 1}}}},
    ],
    ids=str,
)
def test_other_settings_are_a_separate_column(changes: dict[str, Any]) -> None:
    (row,) = rows_of([result(), result(rollout_seed=1, **changes)])
    assert len(row.values) == 2
    assert all(len(runs) == 1 for (runs,) in row.values.values())
    assert all(column.startswith("adacat") for column in row.values)


def test_a_column_is_named_by_the_settings_that_differ() -> None:
    (row,) = rows_of([result(planner={"search": {"horizon": h, "beam_width": 8}}, rollout_seed=h) for h in (3, 5)])
    assert set(row.values) == {"adacat (horizon=3)", "adacat (horizon=5)"}


def test_settings_that_follow_from_a_named_one_are_not_in_the_name() -> None:
    critic = {"critic": {"expectile": 0.7, "n_steps": 9}}
    planners: list[dict[str, Any]] = [
        {"scoring": {"name": "values"}, "k_obs": 1},
        {"scoring": {"name": "critic"}, **critic},
        {"scoring": {"name": "critic"}, "critic": {"expectile": 0.8, "n_steps": 9}},
    ]
    (row,) = rows_of(result(planner=planner, rollout_seed=seed) for seed, planner in enumerate(planners))
    assert set(row.values) == {
        "adacat (scoring=values)",
        "adacat (expectile=0.7, scoring=critic)",
        "adacat (expectile=0.8, scoring=critic)",
    }


def test_a_setting_of_some_results_is_named_where_nothing_else_differs() -> None:
    planners: list[dict[str, Any]] = [{"k": 1}, {"k": 1, "new": 2}]
    (row,) = rows_of(result(planner=planner, rollout_seed=seed) for seed, planner in enumerate(planners))
    assert set(row.values) == {"adacat", "adacat (new=2)"}


def rows_by_folder(*places: tuple[str, str, int]) -> Row:
    """The row of results with a parameterization, a folder and a horizon each."""
    runs = {
        Path(f"plans/{name}_0/{folder}/{seed}.json"): result(
            parameterization=name, planner={"horizon": horizon}, rollout_seed=seed
        )
        for seed, (name, folder, horizon) in enumerate(places)
    }
    (row,) = gather(runs, names="folders")
    return row


def test_columns_can_be_named_by_their_folders() -> None:
    row = rows_by_folder(("adacat", "plan", 3), ("adacat", "critic", 1), ("bc", "bc", 1), ("uniform", "plan_h-2", 2))
    assert columns_of([row]) == ["uniform (h-2)", "adacat", "adacat (critic)", "bc"]


def test_folders_that_hold_several_methods_do_not_name_columns() -> None:
    row = rows_by_folder(("adacat", "plan", 3), ("adacat", "plan", 1))
    assert columns_of([row]) == ["adacat (horizon=1)", "adacat (horizon=3)"]


def test_each_column_is_compared_with_the_one_of_adacat_that_fits() -> None:
    columns = ["adacat", "adacat (critic)", "uniform", "uniform (critic)", "uniform (other)", "bc"]
    assert [opponent(column, columns) for column in columns] == [
        *(None, "adacat", "adacat", "adacat (critic)", "adacat", "adacat")
    ]
    assert opponent("bc", ["bc", "adacat (horizon=3)"]) == "adacat (horizon=3)"
    assert opponent("bc", ["bc", "adacat (horizon=1)", "adacat (horizon=3)"]) is None
    assert opponent("bc", ["bc", "uniform"]) is None


def test_rows_say_how_probably_adacat_scores_higher() -> None:
    returns = {"adacat": (1000.0, 1300.0), "uniform": (900.0, 1100.0)}
    runs = [
        result(parameterization=name, train_seed=seed, return_=value)
        for name, values in returns.items()
        for seed, value in enumerate(values)
    ]
    (row,) = rows_of(runs)
    assert list(row.improvements) == ["uniform"]
    assert row.improvements["uniform"].probability == 0.75


def test_the_likelihood_of_each_training_is_kept_where_all_results_record_it() -> None:
    def run(name: str, seed: int, **recorded: float) -> RolloutResult:
        return result(parameterization=name, train_seed=seed, checkpoint={"hash": str(seed), **recorded})

    runs = [run("adacat", 0, held_out_nll=-4.0), run("adacat", 1, held_out_nll=-3), run("uniform", 0)]
    (row,) = rows_of([*runs, dataclasses.replace(runs[0], rollout_seed=5)])
    assert row.likelihoods == {"adacat": [-4.0, -3.0]}


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
        *("adacat", 'adacat (percentile="90")', 'adacat (percentile="unset")', "adacat (percentile=90)"),
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
    assert row.values == {"adacat": [[1000.0]]}
    assert row.recorded == {"dataset mean": [800.0]}


def test_recorded_references_are_in_the_rows_measure() -> None:
    (row,) = rows_of([result(references={"dataset mean": 3234.3})])
    assert row.recorded["dataset mean"] == [pytest.approx(100.0)]


def test_overall_pools_datasets_of_one_kind_with_equal_numbers_of_runs() -> None:
    names = ["hopper-medium-v2", "walker2d-medium-v2", "hopper-medium-collected"]
    places = dict(zip(names, ("Hopper", "Walker2d", "Hopper"), strict=True))
    runs = [
        result(
            dataset=name,
            train_seed=train_seed,
            rollout_seed=seed,
            return_=1000.0 + 100 * train_seed + seed,
            environment={"environment": f"trajectory_adacat/{place}-v2", "dynamics": "v2"},
        )
        for name, place in places.items()
        for train_seed in range(2)
        for seed in range(3)
    ]
    runs += [result(parameterization="uniform", dataset=names[0])]  # on one dataset only
    rows = rows_of(runs)
    together = overall(rows)
    assert list(together) == ["all -v2 datasets"]
    assert list(together["all -v2 datasets"]) == ["adacat"]
    summary = together["all -v2 datasets"]["adacat"]
    means = [row.summaries["adacat"].mean for row in rows if row.dataset.endswith("-v2")]
    assert summary.mean == pytest.approx(sum(means) / 2)
    assert (summary.n, summary.trainings, summary.tasks, summary.per_training) == (12, 2, 2, 3)
    assert summary.interval is not None
    assert overall_improvements(rows) == {"all -v2 datasets": {}}
