"""Normalized scores with D4RL's reference returns."""

import pytest

from trajectory_adacat.evaluation.scores import normalized_score, reference_returns, references_in, score
from trajectory_adacat.robots import named_datasets

# Those of D4RL's infos.py, written out again.
RETURNS = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
}


@pytest.mark.parametrize("name", named_datasets())
def test_reference_returns_score_0_and_100(name: str) -> None:
    low, high = RETURNS[name.partition("-")[0]]
    assert reference_returns(name) == (low, high)
    assert normalized_score(name, low) == pytest.approx(0.0)
    assert normalized_score(name, high) == pytest.approx(100.0)


def test_the_score_is_100_times_d4rls() -> None:
    assert normalized_score("hopper-medium-v2", 1601.0) == pytest.approx(
        100 * (1601.0 + 20.272305) / (3234.3 + 20.272305)
    )


@pytest.mark.parametrize(
    "name",
    [
        *("minari:mujoco/hopper/medium-v0", "hopper-medium-v0", "hopper-v2", "hopper-medium-v2.hdf5"),
        *("humanoid-medium-v2", "hopper-collected", "humanoid-expert-collected"),
    ],
)
def test_other_names_have_no_score(name: str) -> None:
    assert normalized_score(name, 1000.0) is None


@pytest.mark.parametrize(
    ("dataset", "robot", "recorded", "references"),
    [
        ("hopper-medium-v2", "hopper", None, RETURNS["hopper"]),
        ("hopper-medium-collected", "hopper", None, RETURNS["hopper"]),
        ("hopper-medium-v2", "walker2d", None, None),
        ("hopper-medium-v2", None, None, None),
        ("own.hdf5", "hopper", None, None),
        ("minari:own/v0", None, [-5.0, 20.0], (-5.0, 20.0)),
        ("minari:own/v0", None, [5.0, 5.0], None),
    ],
)
def test_references_need_the_datasets_robot_or_a_record(
    dataset: str, robot: str | None, recorded: list[float] | None, references: tuple[float, float] | None
) -> None:
    assert references_in(dataset, robot, recorded) == references


def test_references_score_0_and_100() -> None:
    assert [score(value, (-5.0, 20.0)) for value in (-5.0, 7.5, 20.0)] == [0.0, 50.0, 100.0]
    assert score(7.5, None) is None
