"""The estimated durations of density models: from measured steps where there are some of that size."""

import json
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.sweep.density_estimate import DensityEstimator
from trajectory_adacat.sweep.estimate import START_SECONDS

FLAGS: dict[str, Any] = {
    "dataset": "casp",
    "device": "cpu",
    "form": "adacat",
    "n_bins": 32,
    "batch_size": 512,
    "n_steps": 100,
    "n_epochs": None,
    "hidden": 64,
    "n_hidden": 2,
    "frequencies": 6,
}


def log(folder: Path, seconds: float, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "arguments.json").write_text(json.dumps({**FLAGS, **changes}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 10, "seconds/wall": 10 * seconds}) + "\n")


def test_measured_steps_of_the_same_size_are_taken_nearest_first(tmp_path: Path) -> None:
    log(tmp_path / "other", 3.0, form="uniform")
    assert DensityEstimator("tabular", tmp_path).training(FLAGS) == (START_SECONDS + 300.0, True)
    log(tmp_path / "more_outputs", 2.0, n_bins=64)
    assert DensityEstimator("tabular", tmp_path).training(FLAGS) == (START_SECONDS + 200.0, True)
    log(tmp_path / "same", 1.0)
    log(tmp_path / "wider", 9.0, hidden=128)
    assert DensityEstimator("tabular", tmp_path).training(FLAGS) == (START_SECONDS + 100.0, True)


@pytest.mark.parametrize("changes", [{"dataset": "grid"}, {"device": "cuda"}, {"hidden": 128}], ids=str)
def test_other_trainings_have_the_default(tmp_path: Path, changes: dict[str, Any]) -> None:
    log(tmp_path / "casp", 3.0)
    assert not DensityEstimator("tabular", tmp_path).training({**FLAGS, **changes}).is_measured


SIZES: dict[str, dict[str, Any]] = {
    "tabular": {"hidden": 64, "n_hidden": 2},
    "images": {"n_layer": 2, "n_head": 4, "n_embd": 16, "shrink": 2},
    "audio": {"crop": 512, "n_layers": 7, "residual": 16},
}


@pytest.mark.parametrize(
    ("experiment", "twice"), [("tabular", {"n_hidden": 4}), ("images", {"n_layer": 4}), ("audio", {"crop": 1024})]
)
def test_the_default_grows_with_the_size_and_the_epochs(tmp_path: Path, experiment: str, twice: dict[str, Any]) -> None:
    flags = {**FLAGS, **SIZES[experiment]}

    def seconds(**changes: Any) -> float:
        found = DensityEstimator(experiment, tmp_path / "missing").training({**flags, **changes})
        assert not found.is_measured
        return found.seconds - START_SECONDS

    assert seconds(**twice) == pytest.approx(2 * seconds())
    assert seconds(n_epochs=6.0) == pytest.approx(2 * seconds(n_epochs=3.0))
