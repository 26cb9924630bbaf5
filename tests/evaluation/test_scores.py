"""Normalized scores with D4RL's reference returns."""

import pytest

from trajectory_adacat.evaluation.scores import normalized_score, reference_returns
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
        *("humanoid-medium-v2", "hopper-expert-collected"),
    ],
)
def test_other_names_have_no_score(name: str) -> None:
    assert normalized_score(name, 1000.0) is None
