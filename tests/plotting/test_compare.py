"""The comparison of two sets of rollouts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.plotting.compare import comparison, main


def save(folder: Path, returns: list[float], dynamics: str = "v2", first_seed: int = 0, **changes: Any) -> Path:
    for seed, value in enumerate(returns, first_seed):
        result = RolloutResult(
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
        )
        replace(result, **changes).save(folder)
    return folder


def test_a_clear_difference_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low, high = save(tmp_path / "low", [10.0, 11.0, 12.0]), save(tmp_path / "high", [20.0, 21.0, 22.0])
    main([str(high), str(low)])
    printed = capsys.readouterr().out
    assert "return 21 ± 0.57735 (one training x 3)" in printed
    assert "first - second: 10, 95% interval [" in printed
    assert "the means differ at 95%" in printed


def test_no_clear_difference_is_reported(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0, 30.0, 20.0]), save(tmp_path / "other", [12.0, 31.0, 19.0])
    assert "no clear difference at 95%" in comparison(one, other)


def test_a_single_rollout_is_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0]), save(tmp_path / "other", [12.0, 31.0])
    with pytest.raises(InputError, match="one holds 1 rollout"):
        comparison(one, other)


def test_other_environments_are_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [10.0, 12.0]), save(tmp_path / "other", [12.0, 31.0], "native")
    with pytest.raises(InputError, match="dynamics is v2 and native"):
        comparison(one, other)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dataset": "another"}, "another.*; own"),
        ({"parameterization": "uniform"}, "uniform; own.*adacat"),
        ({"planner": {"horizon": 3}}, "horizon=3"),
        ({"checkpoint": {"hash": "a", "training": {"n_bins": 7}}}, "n_bins=7"),
        ({"dynamics": "native"}, "native dynamics"),
        ({"checkpoint": {"hash": "a", "step": 20}}, "checkpoint step=20"),
        ({"checkpoint": {"hash": "b"}}, "checkpoint=b"),
        ({"checkpoint": {"hash": "a", "dataset": {"label": "own", "sha256": "ab" * 32}}}, "data abababab"),
        ({"data_status": "unverified"}, "unverified"),
    ],
    ids=str,
)
def test_a_side_with_results_that_are_not_pooled_is_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    mixed, other = save(tmp_path / "mixed", [10.0, 12.0]), save(tmp_path / "other", [12.0, 31.0])
    save(mixed / "more", [10.0], first_seed=5, **changes)
    for sides in ((mixed, other), (other, mixed)):
        with pytest.raises(InputError, match=f"mixed holds.*{named}"):
            comparison(*sides)


def test_episodes_of_other_lengths_are_refused(tmp_path: Path) -> None:
    sides = [save(tmp_path / str(n), [10.0, 12.0], planner={"max_episode_length": n}) for n in (20, 1000)]
    with pytest.raises(InputError, match="max_episode_length is 20 and 1000"):
        comparison(*sides)


def test_other_planner_settings_can_be_compared(tmp_path: Path) -> None:
    sides = [save(tmp_path / str(n), [10.0, 12.0], planner={"horizon": n}) for n in (2, 3)]
    assert "no clear difference" in comparison(*sides)


def test_a_result_on_both_sides_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", [10.0, 12.0])
    with pytest.raises(InputError, match=r"rollouts\.jsonl:1 is on both sides"):
        comparison(folder, folder / ".." / "one")


def test_small_returns_are_not_rounded_away(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one", [0.0101, 0.0103]), save(tmp_path / "other", [0.0001, 0.0003])
    assert "return 0.0102 ± 0.0001 (one training x 2)" in comparison(one, other)
    assert "first - second: 0.01," in comparison(one, other)


def save_trainings(folder: Path, returns: list[list[float]]) -> Path:
    for seed, rollouts in enumerate(returns):
        save(folder / str(seed), rollouts, train_seed=seed, checkpoint={"hash": f"{folder}{seed}"})
    return folder


def test_several_trainings_on_both_sides_are_the_units(tmp_path: Path) -> None:
    # The rollouts of each side hardly differ within a training: over rollouts the difference would be clear.
    one = save_trainings(tmp_path / "one", [[10.0, 10.1] * 10, [20.0, 20.1] * 10, [30.0, 30.1] * 10])
    other = save_trainings(tmp_path / "other", [[14.0, 14.1] * 10, [26.0, 26.1] * 10, [38.0, 38.1] * 10])
    found = comparison(one, other)
    assert "return 20.05 ± 5.7735 (3 trainings x 20)" in found
    assert "Welch's t-test over trainings" in found
    assert "no clear difference" in found
    assert "P(first > second) of a training: 0.33, 95% interval [0.00, " in found
    assert "one training" not in found


@pytest.mark.parametrize("several_first", [True, False])
def test_one_training_on_a_side_is_said(tmp_path: Path, several_first: bool) -> None:
    several = save_trainings(tmp_path / "several", [[10.0, 11.0], [20.0, 21.0]])
    one = save(tmp_path / "one", [50.0, 51.0, 52.0])
    found = comparison(several, one) if several_first else comparison(one, several)
    assert "Welch's t-test over rollouts" in found
    assert "one training: the interval is over rollouts, and says nothing about another training" in found


def test_a_policy_without_training_has_rollouts_as_units(tmp_path: Path) -> None:
    several = save_trainings(tmp_path / "several", [[10.0, 11.0], [20.0, 21.0]])
    untrained = save(tmp_path / "random", [1.0, 2.0, 3.0], checkpoint={"hash": None})
    found = comparison(several, untrained)
    assert "(3 rollouts)" in found
    assert "one training" not in found


def test_a_parameterization_of_each_side_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (ours, theirs) in enumerate([(20.0, 10.0), (21.0, 11.0), (22.0, 12.0)]):
        save(tmp_path / "ours" / f"adacat_{seed}", [ours, ours], train_seed=seed)
        save(tmp_path / "ours" / f"uniform_{seed}", [0.0, 0.0], train_seed=seed, parameterization="uniform")
        save(tmp_path / "theirs" / f"bc_{seed}", [theirs, theirs], train_seed=seed, parameterization="bc")
    sides = [str(tmp_path / name) for name in ("ours", "theirs")]
    main([*sides, "--parameterizations", "adacat", "bc"])
    assert "first - second: 10, 95% interval [" in capsys.readouterr().out
    main([sides[0], sides[0], "--parameterizations", "adacat", "uniform"])
    assert "first - second: 21, 95% interval [" in capsys.readouterr().out
    with pytest.raises(InputError, match="two names, one for each side, got 'adacat'"):
        main([*sides, "--parameterizations", "adacat"])
    with pytest.raises(InputError, match="theirs holds no results of --parameterizations bcc: did you mean bc"):
        main([*sides, "--parameterizations", "adacat", "bcc"])
    with pytest.raises(InputError, match="name a folder that holds one kind, or pass --parameterizations"):
        main(sides)
