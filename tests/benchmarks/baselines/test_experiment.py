"""When a baseline's training counts as done, and which records are refused."""

import json
from pathlib import Path

import pytest

from benchmarks.baselines.experiment import RECORD, is_trained, read_record
from benchmarks.baselines.networks import ACTOR
from trajectory_adacat.errors import InputError

from .conftest import COLLECTED, MakeBaseline

FLAGS = {"algorithm": "iql", "dataset": COLLECTED, "holdout_fraction": 0.05, "termination_penalty": None}


def test_a_whole_training_is_done(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    assert is_trained(folder, FLAGS, 0, 4)
    assert folder.parts[-3:] == (COLLECTED, "baselines", "iql_0")


@pytest.mark.parametrize(
    ("changed", "seed", "n_steps"),
    [({}, 1, 4), ({}, 0, 5), ({"holdout_fraction": 0.1}, 0, 4), ({"termination_penalty": -100.0}, 0, 4)],
)
def test_a_training_with_other_settings_is_not(
    make_baseline: MakeBaseline, changed: dict[str, object], seed: int, n_steps: int
) -> None:
    assert not is_trained(make_baseline(), {**FLAGS, **changed}, seed, n_steps)


def test_a_training_without_its_actor_is_not(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    (folder / ACTOR).unlink()
    assert not is_trained(folder, FLAGS, 0, 4)
    with pytest.raises(InputError, match=r"actor.npz is missing or not what the training wrote"):
        read_record(folder)


def test_another_actor_than_the_trainings_is_refused(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    other = make_baseline(seed=1)
    (folder / ACTOR).write_bytes((other / ACTOR).read_bytes())
    with pytest.raises(InputError, match=r"actor.npz is missing or not what the training wrote"):
        read_record(folder)


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no trained baseline"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"algorithm": "iql"})])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(InputError, match=r"train (it|the baseline) again"):
        read_record(tmp_path)
