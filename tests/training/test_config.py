"""Training settings: ranges and the steps of checkpoints."""

from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import RunConfig, TrainerConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_steps", 0),
        ("n_steps", -3),
        ("batch_size", 0),
        ("accumulate", 0),
        ("precision", "float16"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("muon_learning_rate", -1.0),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("grad_norm_clip", 0.0),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", float("inf")),
        ("final_epochs", -1.0),
        ("final_epochs", float("nan")),
        ("ema_decay", 1.0),
        ("ema_decay", float("nan")),
        ("log_freq", 0),
        ("n_saves", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("optimizer", "sgd"),
        ("lr_schedule_end", "fall"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        values = {"n_steps": 1, "optimizer": "muon", name: value}
        build(TrainerConfig, values), build(RunConfig, values)


@pytest.mark.parametrize(
    ("n_steps", "n_saves", "expected"), [(9, 3, {3, 6, 9}), (10, 3, {3, 6, 10}), (2, 5, {1, 2}), (7, 1, {7})]
)
def test_checkpoints_are_evenly_spaced_and_include_the_last_step(
    n_steps: int, n_saves: int, expected: set[int]
) -> None:
    assert RunConfig(n_saves=n_saves).saved_steps(n_steps) == expected


@pytest.mark.parametrize(
    ("n_windows", "batch_size", "expected"), [(20, 10, 2), (21, 10, 3), (29, 10, 3), (7, 10, 1), (1, 1, 1)]
)
def test_an_epoch_keeps_its_partial_last_batch(n_windows: int, batch_size: int, expected: int) -> None:
    config = TrainerConfig(batch_size=batch_size, n_epochs_ref=n_windows * 3.5e-6)
    assert config.steps_per_epoch(n_windows) == expected
    assert config.total_steps(n_windows) == 3 * expected
