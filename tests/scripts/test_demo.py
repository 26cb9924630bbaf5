"""The demo's report: the table, and what a single training can say."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, load_results
from trajectory_adacat.plotting.report import command as page
from trajectory_adacat.scripts import critic, demo, plan, plan_arguments, plan_setting, train
from trajectory_adacat.scripts.demo import report


def save(folder: Path, parameterization: str, returns: list[float], **changes: object) -> None:
    for seed, value in enumerate(returns):
        values: dict = {
            "dataset": "hopper-medium-collected",
            "train_seed": 0,
            "normalized_score": 1.0,
            "length": 10,
            "terminated": False,
            "truncated": True,
            "planner": {},
            "environment": {"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
            "versions": {},
            "git_revision": None,
            "seconds_per_action": 0.1,
            "data_status": "verified",
            **changes,
        }
        RolloutResult(parameterization=parameterization, rollout_seed=seed, return_=value, **values).save(folder)


def test_every_stage_takes_the_demos_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: dict[str, Sequence[str]] = {}
    plans: list[list[str]] = []
    pages: list[list[str]] = []

    def train_both(commands: Mapping[str, Sequence[str]], folder: Path, **_: Any) -> None:
        trainings.update(commands)

    monkeypatch.setattr(demo, "run_together", train_both)
    monkeypatch.setattr(demo, "load_dataset", lambda name: None)
    monkeypatch.setattr(plan, "main", plans.append)
    monkeypatch.setattr(demo, "report", lambda folder: None)
    monkeypatch.setattr(page, "main", pages.append)
    steps = ["--n_steps", "70", "--critic_steps", "80", "--values"]
    demo.main(["--logbase", str(tmp_path), "--n_rollouts", "1", "--seed", "4", "--verbose", "false", *steps])
    assert [command[:2] for command in trainings.values()] == [["-m", module.__name__] for module in (train, critic)]
    trained = train.TrainArguments().parse(trainings["model"][2:])
    learned = critic.CriticArguments().parse(trainings["critic"][2:])
    sampled, planned, guided = (plan_arguments.PlanArguments().parse(argv) for argv in plans)
    assert trained.dataset == planned.dataset == "hopper-medium-collected"
    assert trained.preset == planned.preset == "demo"
    assert (trained.arguments()["seed"], planned.seed, planned.n_rollouts) == (4, 4, 1)
    sampling, search = (plan_setting.planner_config(arguments, 0.99).search for arguments in (sampled, planned))
    assert (sampling.horizon, sampling.beam_width, sampling.n_expand, sampling.sampling) == (1, 1, 1, "uniform")
    assert (sampling.k_act, sampling.cdf_act, sampling.drop_act) == (None, 0.0, 0.0)  # all bins
    assert search.horizon > 1
    assert (sampled.record, planned.record, guided.record, guided.frames) == (None, None, [4], True)
    assert pages[0][0] == str(planned.savepath.parents[1])
    assert sampled.savepath != planned.savepath
    assert [a.arguments()["scoring"] for a in (sampled, planned, guided)] == ["values", "values", "critic"]
    assert plan_setting.planner_config(guided, 0.99).search.horizon == 1
    assert (trained.arguments()["n_steps"], learned.arguments()["n_steps"]) == (70, 80)
    assert (learned.preset, learned.arguments()["seed"]) == ("demo", 4)
    assert trained.savepath == Path(tmp_path, "hopper-medium-collected", planned.gpt_loadpath)
    assert learned.savepath == Path(tmp_path, "hopper-medium-collected", guided.critic)
    assert len(load_results([tmp_path / "hopper-medium-collected" / "demo" / "random"])) == 1


def test_a_training_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'error: no room.'\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(demo, "load_dataset", lambda name: None)
    with pytest.raises(InputError, match=r"The (model|critic) failed: no room\. What it printed is in .*\.log"):
        demo.main(["--logbase", str(tmp_path / "logs"), "--verbose", "false"])


def test_the_report_says_that_its_error_is_of_one_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"label": "hopper-medium-collected", "sha256": "ab" * 32, "environment": "hopper-medium-collected"}
    planned = {"checkpoint": {"hash": "a", "step": 10, "dataset": data}, "references": {"dataset mean return": 0.021}}
    by_critic = {**planned, "planner": {"search": {"horizon": 1}, "scoring": {"name": "critic"}}}
    save(tmp_path / "plans" / "critic", "adacat", [0.0125, 0.0135], **by_critic)
    save(tmp_path / "plans" / "values", "adacat", [0.0115, 0.0125], **planned)
    sampling = {**planned, "planner": {"search": {"horizon": 1}}}
    save(tmp_path / "plans" / "no_search", "adacat", [0.0105, 0.0115], **sampling)
    save(tmp_path / "random", "random policy", [0.001, 0.002], checkpoint={"hash": None})
    report(tmp_path)
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["search", "by", "the", "critic", "0.01300", "±", "0.00050"] in lines
    assert ["search", "by", "the", "model's", "value", "tokens", "0.01200", "±", "0.00050"] in lines
    assert any(line[:2] == ["no", "search:"] and line[-3:] == ["0.01100", "±", "0.00050"] for line in lines)
    assert any(line[:3] == ["the", "dataset's", "episodes,"] and line[-1] == "0.021" for line in lines)
    assert "Over 2 rollouts of one training" in printed
    assert printed.count("\nhopper-medium-collected") == 1  # one row: the random policy depends on no data
    assert "(one training x 2)" in printed
    assert "(2 rollouts)" in printed
    assert {path.name for path in tmp_path.iterdir()} >= {"table.md", "scores.png"}
