"""The command of images on a tiny scale."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.scripts.conftest import tiny_digits
from trajectory_adacat.density.images import ImagesConfig
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.scripts import density, density_images
from trajectory_adacat.scripts.density_images import ImagesArguments
from trajectory_adacat.settings import to_flat

RunImages = Callable[..., None]


@pytest.fixture
def images(home: Path) -> RunImages:
    """Runs the command on `tiny_digits` with its flags and more."""
    tiny = tiny_digits(home)
    return lambda *flags: density.main(["images", *tiny, "--out", "results", *flags])


@pytest.mark.parametrize("form", ["adacat", "uniform", "adaptive_quantile", "logistic_mixture"])
def test_each_form_trains_writes_a_result_and_draws_samples(images: RunImages, home: Path, form: str) -> None:
    images("--form", form)
    (result,) = load_density_results([home / "results"])
    assert (result.experiment, result.dataset, result.form) == ("images", "mnist", form)
    assert result.unit == "bits per dimension"
    assert 0 < result.nll < 30
    assert result.n_outputs == (129 if form == "logistic_mixture" else 128)
    assert (result.data["images"], result.data["size"]) == ([16, 4, 5], [2, 2])
    picture = imread(home / "logs" / "density" / "mnist" / "images" / f"{form}_0" / "samples.png")
    assert picture.shape[:2] == (2 * 4, 3 * 4)  # 5 samples in 3 columns, with a frame of one pixel


def test_a_finished_training_draws_the_same_samples_again(images: RunImages, home: Path) -> None:
    images()
    path = home / "logs" / "density" / "mnist" / "images" / "adacat_0" / "samples.png"
    before = path.read_bytes()
    path.unlink()
    images("--resume")
    assert path.read_bytes() == before


def test_an_end_before_the_samples_are_drawn_leaves_no_result(
    images: RunImages, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(density_images, "save_grid", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=r"saved, and not tested yet\. Go on with: .* density images .*--resume$"):
            images()
    folder = home / "logs" / "density" / "mnist" / "images" / "adacat_0"
    assert (folder / "step_00000004").exists()
    assert not (home / "results").exists()
    images("--resume")
    assert len(load_density_results([home / "results"])) == 1
    assert (folder / "samples.png").exists()


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
def test_bad_input_is_refused(images: RunImages, home: Path, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        images(*flags)
