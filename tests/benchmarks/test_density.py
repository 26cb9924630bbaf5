"""The benchmarks of density models on a tiny scale."""

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks import image_density, tabular_density
from trajectory_adacat.density.image_data import TEST_FILE, TRAINING_FILE
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, load_density_results


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
    assert [result.form for result in results] == [*ours, "spline_flow", "gaussian_mixture", "kernel_density"]
    assert all(np.isfinite(result.nll) for result in results)
    written = (tmp_path / "out" / RESULTS_FILE).read_text()
    tabular_density.main(flags)
    assert (tmp_path / "out" / RESULTS_FILE).read_text() == written


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


def test_images_are_trained_once_with_each_number_of_outputs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in (TRAINING_FILE, TEST_FILE):
        header = bytes((0, 0, 8, 3)) + struct.pack(">3i", 12, 4, 4)
        (tmp_path / name).write_bytes(header + generator.integers(0, 256, 12 * 16, dtype=np.uint8).tobytes())
    flags = ["--outputs", "8", "12", "--methods", "adacat", "uniform", "--seeds", "0", "--data", str(tmp_path)]
    flags += ["--logbase", str(tmp_path / "logs"), "--out", str(tmp_path / "out")]
    flags += ["--more", "n_steps=2", "n_validation=3", "n_test=4", "n_samples=2", "verbose=false"]
    image_density.main(flags)
    results = load_density_results([tmp_path / "out"])
    assert [(r.form, r.n_outputs) for r in results] == [("adacat", 8), ("uniform", 8), ("adacat", 12), ("uniform", 12)]
    assert len(list((tmp_path / "out").glob("samples_*.png"))) == 4
    written = (tmp_path / "out" / RESULTS_FILE).read_text()
    image_density.main(flags)
    assert (tmp_path / "out" / RESULTS_FILE).read_text() == written
