"""The estimated durations: from measured steps where there are some of that size, else the defaults."""

import json
from pathlib import Path
from typing import Any

from trajectory_adacat.sweep.estimate import START_SECONDS, Estimator

SIZE = {"n_layer": 3, "n_head": 4, "n_embd": 16, "subsampled_sequence_length": 5, "batch_size": 64}
FLAGS: dict[str, Any] = {
    **SIZE,
    "precision": "float32",
    "device": "cpu",
    "n_steps": 100,
    "n_epochs_ref": 1.0,
    "dataset": "hopper-medium-collected",
    "parameterization": "adacat",
}


def log(folder: Path, seconds: float, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "arguments.json").write_text(json.dumps({**FLAGS, **changes}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 10, "seconds_per_step": seconds}) + "\n")


def test_measured_steps_of_the_same_size_are_taken_nearest_first(tmp_path: Path) -> None:
    log(tmp_path / "other", 3.0, parameterization="uniform")
    assert Estimator(tmp_path).training(FLAGS) == (START_SECONDS + 300.0, True)
    log(tmp_path / "same", 2.0)
    log(tmp_path / "wider", 9.0, n_embd=32)
    assert Estimator(tmp_path).training(FLAGS) == (START_SECONDS + 200.0, True)


def test_the_default_grows_with_the_model_and_says_that_it_is_one(tmp_path: Path) -> None:
    small = Estimator(tmp_path / "missing").training(FLAGS)
    large = Estimator(tmp_path / "missing").training({**FLAGS, "n_embd": 32})
    assert not small.is_measured
    assert large.seconds - START_SECONDS == 4 * (small.seconds - START_SECONDS)


def test_other_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    log(tmp_path / "broken", 2.0)
    (tmp_path / "broken" / "arguments.json").write_text("{")
    assert not Estimator(tmp_path).training(FLAGS).is_measured
