"""The jobs of a whole comparison: trained elsewhere, rolled out here, and none done twice."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.baselines import run
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results

from .conftest import COLLECTED, MakeBaseline


def flags(root: Path, *algorithms: str, python: str = sys.executable) -> list[str]:
    sizes = ["--n_steps", "4", "--rollouts", "2", "--processes", "1"]
    named = ["--datasets", COLLECTED, "--seeds", "0", "--algorithms", *algorithms]
    return [*named, *sizes, "--logbase", str(root), "--python", python]


def ended(root: Path) -> list[tuple[str, bool]]:
    lines = (root / "baselines" / "jobs.jsonl").read_text().splitlines()
    return [(record["job"], record["ok"]) for record in map(json.loads, lines)]


def test_trained_baselines_are_rolled_out_once(
    make_baseline: MakeBaseline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_baseline()
    for _ in range(2):
        run.main(flags(tmp_path, "iql"))
        assert "iql" in capsys.readouterr().out
    assert ended(tmp_path) == [(f"plan {COLLECTED} iql 0", True)]
    assert "iql" in (tmp_path / "baselines" / "table.md").read_text()


def test_a_failed_training_is_reported_and_the_others_go_on(make_baseline: MakeBaseline, tmp_path: Path) -> None:
    folder = make_baseline()
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\necho "$@" >&2\nexit 3\n')
    broken.chmod(0o755)
    with pytest.raises(InputError, match=f"1 of 5 jobs failed: train {COLLECTED} bc 0"):
        run.main(flags(tmp_path, "bc", "iql", python=str(broken)))
    assert ended(tmp_path) == [(f"plan {COLLECTED} iql 0", True), (f"train {COLLECTED} bc 0", False)]
    assert len(load_results([folder])) == 2
    (failure,) = map(json.loads, (tmp_path / "baselines" / "failures.jsonl").read_text().splitlines())
    assert failure["error"].startswith("-m benchmarks.baselines.train --dataset hopper-medium-collected --algorithm bc")
    assert failure["skipped"] == [f"plan {COLLECTED} bc 0"]


def test_a_dry_run_lists_the_jobs_and_runs_none(
    make_baseline: MakeBaseline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_baseline()
    run.main([*flags(tmp_path, "iql", "bc", python="nowhere"), "--dry_run"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[0] == "done" for line in lines) == 2  # the dataset and the training of iql
    assert "5 jobs (1 collect, 2 train, 2 plan), 2 done, 3 to run" in lines
    assert not (tmp_path / "baselines").exists()


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no nowhere: run `make baselines`"):
        run.main(flags(tmp_path, "iql", python="nowhere"))
