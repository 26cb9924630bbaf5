"""The benchmarks of density models on a tiny scale."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tabular_density
from trajectory_adacat.density import AdaCatDensity
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult, load_density_results

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


def test_tables_are_trained_once_by_every_method(tmp_path: Path) -> None:
    pytest.importorskip("zuko", reason="zuko is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", np.random.default_rng(0).normal(size=(1200, 2)))
    flags = ["--datasets", "miniboone", "--seeds", "0", "--n_steps", "2", "--data", str(tmp_path)]
    flags += ["--logbase", str(tmp_path / "logs"), "--out", str(tmp_path / "out")]
    tabular_density.main(flags)
    results = load_density_results([tmp_path / "out"])
    ours = ["adacat", "adacat", "uniform", "quantile"]
    others = ["spline_flow", "adacat_estimator", "gaussian_mixture", "kernel_density"]
    assert [result.form for result in results] == ours + others
    assert all(np.isfinite(result.nll) for result in results)
    assert [result.n_outputs for result in results] == [64, 64, 64, 64, None, 64, None, None]
    assert [result.versions.get("zuko") is not None for result in results] == [False] * 4 + [True] + [False] * 3
    assert [result.versions.get("scikit-learn") is not None for result in results] == [False] * 6 + [True] * 2
    written = (tmp_path / "out" / RESULTS_FILE).read_text()
    tabular_density.main(flags)
    assert (tmp_path / "out" / RESULTS_FILE).read_text() == written


def test_a_result_counts_only_for_its_own_data(tmp_path: Path) -> None:
    data = Splits(*np.split(np.random.default_rng(0).normal(size=(30, 2)), [10, 20]))
    other = Splits(data.training, data.validation, data.test + 1)
    result = replace(ADACAT, data={"sha256": data.sha256})
    assert tabular_density.find([result], "casp", data, "adacat", 0, {"n_bins": 8}) is result
    assert tabular_density.find([result], "casp", other, "adacat", 0, {"n_bins": 8}) is None


def test_the_seeds_of_the_estimator_are_pooled_and_its_likelihoods_are_in_one_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tabular_density, "AdaCatDensity", partial(AdaCatDensity, max_steps=200, learning_rate=1e-2))
    data = Splits(*np.split(np.random.default_rng(0).normal(size=(1500, 2)) * 100, [900, 1200]))
    first, second = (next(tabular_density.estimators_of(ADACAT, seed)) for seed in (0, 1))
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
