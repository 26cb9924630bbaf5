"""The estimated durations: from measured steps where there are some of that size, else the defaults."""

import json
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.sweep.estimate import START_SECONDS, Estimator

SIZE = {"n_layer": 3, "n_head": 4, "n_embd": 16, "subsampled_sequence_length": 5, "batch_size": 64}
FLAGS: dict[str, Any] = {
    **SIZE,
    "precision": "float32",
    "device": "cpu",
    "n_steps": 100,
    "n_epochs_ref": 1.0,
    "dataset": "hopper-medium-collected",
    "parameterization": "adacat",
}


def log(folder: Path, seconds: float, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "arguments.json").write_text(json.dumps({**FLAGS, **changes}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 10, "seconds_per_step": seconds}) + "\n")


def test_measured_steps_of_the_same_size_are_taken_nearest_first(tmp_path: Path) -> None:
    log(tmp_path / "other", 3.0, parameterization="uniform")
    assert Estimator(tmp_path).training(FLAGS) == (START_SECONDS + 300.0, True)
    log(tmp_path / "same", 2.0)
    log(tmp_path / "wider", 9.0, n_embd=32)
    assert Estimator(tmp_path).training(FLAGS) == (START_SECONDS + 200.0, True)


def test_the_default_grows_with_the_model_and_says_that_it_is_one(tmp_path: Path) -> None:
    small = Estimator(tmp_path / "missing").training(FLAGS)
    large = Estimator(tmp_path / "missing").training({**FLAGS, "n_embd": 32})
    assert not small.is_measured
    assert large.seconds - START_SECONDS == 4 * (small.seconds - START_SECONDS)


SEARCH: dict[str, Any] = {"horizon": 3, "beam_width": 2, "n_expand": 2}
WINDOW: dict[str, Any] = {"window": "full", "max_context_transitions": 2}
OTHERS: dict[str, Any] = {"plan_freq": 1, "scoring": "values", "precision": "float32", "device": "cpu"}
EPISODES: dict[str, Any] = {"dataset": "hopper-medium-collected", "n_rollouts": 10, "max_episode_length": None}
PLAN = SEARCH | WINDOW | OTHERS | EPISODES


def roll_out(folder: Path, seconds: float, length: int = 500, **changes: Any) -> None:
    plan = {**PLAN, **changes}
    RolloutResult(
        dataset=plan["dataset"],
        parameterization="adacat",
        train_seed=0,
        rollout_seed=0,
        return_=1.0,
        normalized_score=None,
        length=length,
        terminated=True,
        truncated=False,
        planner={
            "search": {name: plan[name] for name in SEARCH},
            "window": {name: plan[name] for name in WINDOW},
            "scoring": {"name": plan["scoring"]},
            "plan_freq": plan["plan_freq"],
            "precision": plan["precision"],
        },
        checkpoint={"hash": "a", "training": {"model": {name: SIZE[name] for name in ("n_layer", "n_head", "n_embd")}}},
        environment={"environment": "Hopper", "dynamics": "v2"},
        versions={},
        git_revision=None,
        seconds_per_action=seconds,
        data_status="verified",
    ).save(folder)


def test_measured_rollouts_of_the_same_search_are_taken_nearest_first(tmp_path: Path) -> None:
    roll_out(tmp_path / "walker", 0.58, dataset="walker2d-medium-collected")  # 3 * 25 - 17 tokens; hopper has 37
    found = Estimator(tmp_path).plan(FLAGS, PLAN)
    assert found.seconds == pytest.approx(START_SECONDS + 10 * 0.37 * 1000)
    assert found.is_measured
    roll_out(tmp_path / "hopper", 0.2)
    roll_out(tmp_path / "wide", 9.0, beam_width=8)
    assert Estimator(tmp_path).plan(FLAGS, PLAN).seconds == pytest.approx(START_SECONDS + 10 * 0.2 * 500)
    shorter = Estimator(tmp_path).plan(FLAGS, {**PLAN, "max_episode_length": 50})
    assert shorter.seconds == pytest.approx(START_SECONDS + 10 * 0.2 * 50)


@pytest.mark.parametrize("changes", [{"scoring": "critic"}, {"horizon": 4}, {"device": "cuda"}], ids=str)
def test_other_plans_have_the_default(tmp_path: Path, changes: dict[str, Any]) -> None:
    roll_out(tmp_path / "hopper", 0.2)
    found = Estimator(tmp_path).plan(FLAGS, {**PLAN, **changes})
    assert found == Estimator(tmp_path / "missing").plan(FLAGS, {**PLAN, **changes})
    assert not found.is_measured


def test_other_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    log(tmp_path / "broken", 2.0)
    (tmp_path / "broken" / "arguments.json").write_text("{")
    assert not Estimator(tmp_path).training(FLAGS).is_measured
