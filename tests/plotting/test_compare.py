"""The comparison of two sets of rollouts."""

from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.plotting.compare import comparison, main


def save(folder: Path, returns: list[float], dynamics: str = "v2") -> Path:
    for seed, value in enumerate(returns):
        RolloutResult(
            dataset="own",
            parameterization="adacat",
            train_seed=0,
            rollout_seed=seed,
            return_=value,
            normalized_score=None,
            length=10,
            terminated=False,
            truncated=True,
            planner={},
            checkpoint={"hash": "a"},
            environment={"environment": "Hopper", "dynamics": dynamics},
            versions={},
            git_revision=None,
            seconds_per_action=0.1,
            data_status="verified",
        ).save(folder)
    return folder


def test_a_clear_difference_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low, high = save(tmp_path / "low", [10.0, 11.0, 12.0]), save(tmp_path / "high", [20.0, 21.0, 22.0])
    main([str(high), str(low)])
    printed = capsys.readouterr().out
    assert "return 21.0 ± 0.6 (3)" in printed
    assert "first - second: 10.0" in printed
    assert "the means differ at 95%" in printed


def test_no_difference_is_named(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0, 30.0, 20.0]), save(tmp_path / "other", [12.0, 31.0, 19.0])
    assert "no difference at 95%" in comparison(one, other)


def test_a_single_rollout_is_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0]), save(tmp_path / "other", [12.0, 31.0])
    with pytest.raises(InputError, match="one holds 1 rollout"):
        comparison(one, other)


def test_other_environments_are_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0, 12.0]), save(tmp_path / "other", [12.0, 31.0], "native")
    with pytest.raises(InputError, match="Hopper \\(native\\), Hopper \\(v2\\)"):
        comparison(one, other)
