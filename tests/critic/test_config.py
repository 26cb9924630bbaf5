"""The settings of a critic: what is out of range."""

from typing import Any

import pytest

from trajectory_adacat.critic.config import CriticConfig, CriticForm
from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import build, from_nested, to_nested


@pytest.mark.parametrize(
    "values",
    [
        *({"expectile": value} for value in (0.0, 1.0, float("nan"))),
        *({"learning_rate": value} for value in (0.0, float("inf"), float("nan"))),
        *({"target_rate": value} for value in (0.0, 1.1, float("nan"))),
        *({name: 0} for name in ("batch_size", "n_steps", "hidden_size", "n_hidden")),
        {"n_critics": 1},
        {"mc_steps": -1},
        {"discount": 0.0},
        {"holdout_fraction": 1.0},
        {"cut_episodes": 1},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        build(CriticConfig, values)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_a_form_without_inputs_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="_size must be"):
        CriticForm(observation_size=sizes[0], action_size=sizes[1])


def test_settings_survive_json() -> None:
    config = build(CriticConfig, {"n_critics": 4, "expectile": 0.9, "termination_penalty": None})
    assert from_nested(CriticConfig, to_nested(config)) == config
