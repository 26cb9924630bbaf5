"""The benchmarks of density models on a tiny scale."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tabular_density
from trajectory_adacat.density import AdaCatDensity
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult, load_density_results
from trajectory_adacat.scripts import density

ADACAT = DensityResult(
    experiment="tabular",
    dataset="casp",
    form="adacat",
    seed=0,
    nll=1.0,
    validation_nll=1.0,
    unit="nats per row",
    n_parameters=1,
    n_outputs=16,
    n_steps=3,
    seconds={"wall": 1.0, "cpu": 1.0},
    settings={"n_bins": 8},
    data={"sha256": "0"},
    versions={},
    git_revision=None,
    measures={},
)


def train_ours(home: Path, *flags: str) -> None:
    """Train AdaCat on a table of two columns, with results in ``<home>/ours``."""
    (home / "miniboone").mkdir(exist_ok=True)
    np.save(home / "miniboone" / "data.npy", np.random.default_rng(0).normal(size=(1200, 2)))
    folders = ["--data", str(home), "--logbase", str(home / "logs"), "--out", str(home / "ours")]
    density.main(["tabular", "--dataset", "miniboone", "--seed", "0", *folders, *flags])


def test_every_other_method_is_trained_once_beside_the_trainings_of_annealed_adacat(tmp_path: Path) -> None:
    pytest.importorskip("zuko", reason="zuko is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    for preset, n_steps in (("small", 2), ("small", 3), ("small-published", 2)):
        name = f"{preset}_{n_steps}"
        train_ours(tmp_path, "--preset", preset, "--n_steps", str(n_steps), "--exp_name", name)
    flags = ["--datasets", "miniboone", "--seeds", "0", "--data", str(tmp_path)]
    flags += ["--ours", str(tmp_path / "ours"), "--out", str(tmp_path / "out")]
    tabular_density.main(flags)
    results = load_density_results([tmp_path / "out"])
    estimators = ["adacat_estimator", "gaussian_mixture", "kernel_density"]
    assert [result.form for result in results] == ["spline_flow", "spline_flow", *estimators]
    assert [result.settings["n_steps_of_adacat"] for result in results[:2]] == [2, 3]
    assert all(np.isfinite(result.nll) for result in results)
    assert [result.n_outputs for result in results] == [None, None, 64, None, None]
    assert [result.versions.get("zuko") is not None for result in results] == [True] * 2 + [False] * 3
    assert [result.versions.get("scikit-learn") is not None for result in results] == [False] * 3 + [True] * 2
    written = (tmp_path / "out" / RESULTS_FILE).read_text()
    tabular_density.main(flags)
    assert (tmp_path / "out" / RESULTS_FILE).read_text() == written


def test_results_of_adacat_on_other_data_or_with_constant_smoothing_are_refused(tmp_path: Path) -> None:
    train_ours(tmp_path, "--preset", "small-published", "--n_steps", "2")
    flags = ["--datasets", "miniboone", "--seeds", "0", "--data", str(tmp_path), "--ours", str(tmp_path / "ours")]
    with pytest.raises(InputError, match=r"annealed AdaCat on miniboone .*, seed 0: run .*density-tabular first"):
        tabular_density.main(flags)
    train_ours(tmp_path, "--preset", "small", "--n_steps", "2", "--exp_name", "annealed")
    np.save(tmp_path / "miniboone" / "data.npy", np.random.default_rng(1).normal(size=(1200, 2)))
    with pytest.raises(InputError, match="annealed AdaCat on miniboone"):
        tabular_density.main(flags)


@pytest.mark.parametrize(
    ("changed", "finished"),
    [({}, True), ({"data": {"sha256": "1"}}, False), ({"seed": 1}, False), ({"settings": {"bins": 9}}, False)],
)
def test_a_method_is_finished_only_with_its_own_data_seed_and_settings(
    tmp_path: Path, changed: dict[str, Any], finished: bool
) -> None:
    method = tabular_density.Method("spline_flow", {"bins": 8}, lambda data: (0.0, 0.0, 0, 0, {}))
    replace(ADACAT, **{"form": "spline_flow", "settings": {"bins": 8}, **changed}).save(tmp_path)
    assert tabular_density.is_finished(tmp_path, ADACAT, method) is finished


def test_the_seeds_of_the_estimator_are_pooled_and_its_likelihoods_are_in_one_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tabular_density, "AdaCatDensity", partial(AdaCatDensity, max_steps=200, learning_rate=1e-2))
    data = Splits(*np.split(np.random.default_rng(0).normal(size=(1500, 2)) * 100, [900, 1200]))
    first, second = (next(tabular_density.estimators_of(replace(ADACAT, seed=seed))) for seed in (0, 1))
    assert first.settings == second.settings
    nll, validation_nll, _, _, _ = first.fit(data)
    assert validation_nll == pytest.approx(nll, abs=0.5)
    assert second.fit(data)[0] != nll


def test_the_flow_has_about_as_many_parameters() -> None:
    pytest.importorskip("zuko", reason="zuko is not installed")
    flow = tabular_density.spline_flow(5, 50_000)
    assert sum(parameter.numel() for parameter in flow.parameters()) == pytest.approx(50_000, rel=0.05)


def test_scikit_learns_estimators_find_a_normal_distribution() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    data = Splits(*np.split(np.random.default_rng(0).normal(size=(1500, 2)), [900, 1200]))
    entropy = 1 + np.log(2 * np.pi)
    for nll in (tabular_density.fit_mixture(data, 0)[0], tabular_density.fit_kernel_density(data)[0]):
        assert nll == pytest.approx(entropy, abs=0.25)
