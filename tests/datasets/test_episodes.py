"""The checks of an episode's arrays."""

from typing import Any

import numpy as np
import pytest

from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.episodes import cut_episodes
from trajectory_adacat.errors import InputError


def parts(**changes: Any) -> dict[str, Any]:
    return {
        "observations": np.zeros((3, 2), np.float32),
        "actions": np.zeros((3, 1), np.float32),
        "rewards": np.zeros(3, np.float32),
        "terminated": True,
        "truncated": False,
        "final_observation": np.zeros(2, np.float32),
    } | changes


def test_length_is_the_number_of_transitions() -> None:
    assert len(Episode(**parts())) == 3


def test_an_unknown_final_observation_is_all_nan() -> None:
    episode = Episode(**parts(final_observation=np.full(2, np.nan, np.float32)))
    assert np.isnan(episode.final_observation).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": np.zeros((2, 2), np.float32)}, "as many actions and rewards"),
        ({"actions": np.zeros((4, 1), np.float32)}, "as many actions and rewards"),
        ({"rewards": np.zeros((3, 1), np.float32)}, "rewards must be a 1-dimensional float32 or float64 array"),
        ({"rewards": np.zeros(3, int)}, "rewards must be a 1-dimensional float32 or float64 array"),
        ({"observations": [[0.0]] * 3}, "observations must be a 2-dimensional float32 or float64 array"),
        ({"observations": np.full((3, 2), np.inf, np.float32)}, "observations contains NaN or infinity"),
        ({"final_observation": np.array([0, np.nan], np.float32)}, "final_observation contains NaN or infinity"),
        ({"final_observation": np.zeros(3, np.float32)}, r"must have shape \(2,\)"),
        ({"action_log_probs": np.zeros(2, np.float32)}, "3 transitions has 2 action_log_probs"),
        ({"action_log_probs": np.full(3, np.nan, np.float32)}, "action_log_probs contains NaN or infinity"),
        ({"action_log_probs": np.zeros((3, 1), np.float32)}, "action_log_probs must be a 1-dimensional"),
        ({"truncated": True}, "Exactly one"),
        ({"terminated": False}, "Exactly one"),
        (
            {
                "observations": np.zeros((0, 2), np.float32),
                "actions": np.zeros((0, 1), np.float32),
                "rewards": np.zeros(0, np.float32),
            },
            "at least one transition",
        ),
    ],
)
def test_invalid_episodes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Episode(**parts(**changes))


def test_the_behaviours_log_densities_are_optional_and_cut_with_the_steps() -> None:
    known = Episode(**parts(action_log_probs=np.array([1, 2, 3], np.float32)))
    pieces = cut_episodes([Episode(**parts()), known], 2)
    found = [None if piece.action_log_probs is None else piece.action_log_probs.tolist() for piece in pieces]
    assert found == [None, None, [1, 2], [3]]


def counted(length: int, terminated: bool) -> Episode:
    count = np.arange(length, dtype=np.float32)
    seen = np.stack([count, count], 1)
    return Episode(seen, count[:, None], count, terminated, not terminated, np.full(2, length, np.float32))


@pytest.mark.parametrize(("length", "lengths"), [(5, [3, 2]), (6, [3, 3]), (7, [3, 3, 1]), (3, [3]), (2, [2])])
def test_long_episodes_are_cut_into_truncated_pieces(length: int, lengths: list[int]) -> None:
    pieces = cut_episodes([counted(length, terminated=True)], 3)
    assert [len(piece) for piece in pieces] == lengths
    assert [piece.terminated for piece in pieces] == [False] * (len(lengths) - 1) + [True]
    np.testing.assert_array_equal(np.concatenate([piece.rewards for piece in pieces]), np.arange(length))
    assert [float(piece.final_observation[0]) for piece in pieces] == np.cumsum(lengths).tolist()
