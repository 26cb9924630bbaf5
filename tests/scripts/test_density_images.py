"""The command of images on a tiny scale."""

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from trajectory_adacat.density.image_data import TEST_FILE, TRAINING_FILE
from trajectory_adacat.density.images import ImagesConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_images import ImagesArguments
from trajectory_adacat.settings import to_flat

TINY = [
    *("--data", "digits", "--preset", "small", "--verbose", "false", "--n_validation", "4", "--n_test", "5"),
    *("--n_layer", "1", "--n_head", "1", "--n_embd", "4", "--batch_size", "8", "--n_steps", "4", "--log_freq", "2"),
    *("--n_samples", "5", "--out", "results"),
]


@pytest.fixture
def digits(home: Path) -> Path:
    """Files of MNIST's format with images of 4 x 4 pixels."""
    (home / "digits").mkdir()
    generator = np.random.default_rng(0)
    for name, count in ((TRAINING_FILE, 20), (TEST_FILE, 6)):
        header = bytes((0, 0, 8, 3)) + struct.pack(">3i", count, 4, 4)
        (home / "digits" / name).write_bytes(header + generator.integers(0, 256, count * 16, dtype=np.uint8).tobytes())
    return home


@pytest.mark.parametrize("form", ["adacat", "uniform", "adaptive_quantile", "logistic_mixture"])
def test_each_form_trains_writes_a_result_and_draws_samples(digits: Path, form: str) -> None:
    density.main(["images", *TINY, "--form", form])
    (result,) = load_density_results([digits / "results"])
    assert (result.experiment, result.dataset, result.form) == ("images", "mnist", form)
    assert result.unit == "bits per dimension"
    assert 0 < result.nll < 30
    assert result.n_outputs == (129 if form == "logistic_mixture" else 128)
    assert (result.data["images"], result.data["size"]) == ([16, 4, 5], [2, 2])
    picture = imread(digits / "logs" / "density" / "mnist" / "images" / f"{form}_0" / "samples.png")
    assert picture.shape[:2] == (2 * 4, 3 * 4)  # 5 samples in 3 columns, with a frame of one pixel


def test_a_finished_training_draws_the_same_samples_again(digits: Path) -> None:
    density.main(["images", *TINY])
    path = digits / "logs" / "density" / "mnist" / "images" / "adacat_0" / "samples.png"
    before = path.read_bytes()
    path.unlink()
    density.main(["images", *TINY, "--resume"])
    assert path.read_bytes() == before


def test_the_paper_preset_has_the_papers_settings() -> None:
    flags = ["--preset", "paper"]
    config = ImagesArguments().parse(flags).settings(ImagesConfig)
    expected = {"n_layer": 4, "n_head": 4, "n_embd": 192, "dropout": 0.1, "learning_rate": 3e-4, "weight_decay": 0.1}
    expected |= {"batch_size": 20, "grad_norm_clip": 0.1, "n_epochs": 100, "shrink": 1, "n_test": None, "n_bins": 256}
    assert to_flat(config).items() >= expected.items()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "cifar"], "only mnist"),
        (["--shrink", "3"], "--shrink"),
        (["--n_samples", "-1"], "--n_samples"),
        (["--data", "nowhere"], "make mnist"),
        (["--smooth_coeff", "0.01"], "--smooth_coeff: no effect"),
        (["--smooth_start", "0.2", "--smooth_bins", "1"], "--smooth_start and --smooth_bins: no effect"),
        (["--smooth_type", "normal"], "--interval_start"),
        (["--embedding", "one_hot"], "--embedding: no effect"),
        (["--standardize", "true"], "--standardize: no effect"),
        (["--smooth_fraction", "0.5", "--form", "adaptive_quantile"], "--smooth_fraction: no effect"),
    ],
)
def test_bad_input_is_refused(digits: Path, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        density.main(["images", *TINY, *flags])
