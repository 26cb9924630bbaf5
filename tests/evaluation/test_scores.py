"""Normalized scores: D4RL's reference returns, and no score without them."""

import pytest

from trajectory_adacat.evaluation.scores import REFERENCE_RETURNS, normalized_score


@pytest.mark.parametrize("environment", ["hopper", "halfcheetah", "walker2d", "ant"])
@pytest.mark.parametrize("ending", ["medium-v2", "medium-replay-v2", "full-replay-v2", "random-v2", "medium-collected"])
def test_reference_returns_score_0_and_100(environment: str, ending: str) -> None:
    low, high = REFERENCE_RETURNS[environment]
    assert normalized_score(f"{environment}-{ending}", low) == pytest.approx(0.0)
    assert normalized_score(f"{environment}-{ending}", high) == pytest.approx(100.0)


def test_a_hopper_score_is_100_times_d4rls_fraction() -> None:
    assert normalized_score("hopper-medium-v2", 1601.0) == pytest.approx(
        100 * (1601.0 + 20.272305) / (3234.3 + 20.272305)
    )


@pytest.mark.parametrize(
    "name",
    ["minari:mujoco/hopper/medium-v0", "hopper-medium-v0", "hopper-v2", "hopper-medium-v2.hdf5", "humanoid-medium-v2"],
)
def test_other_names_have_no_score(name: str) -> None:
    assert normalized_score(name, 1000.0) is None
