"""The command of audio on a tiny scale."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.io import wavfile

from tests.scripts.conftest import tiny_voice
from trajectory_adacat.density.audio import AudioConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_audio import AudioArguments
from trajectory_adacat.settings import to_flat

FOLDER = Path("logs", "density", "speech", "audio")
RunAudio = Callable[..., None]


@pytest.fixture
def audio(home: Path) -> RunAudio:
    """Runs the command on `tiny_voice` with its flags and more."""
    tiny = tiny_voice(home)
    return lambda *flags: density.main(["audio", *tiny, "--out", "results", *flags])


@pytest.mark.parametrize("form", ["adacat", "uniform", "mu_law", "gaussian", "logistic_mixture"])
def test_each_form_trains_writes_a_result_and_synthesizes(audio: RunAudio, home: Path, form: str) -> None:
    audio("--form", form)
    (result,) = load_density_results([home / "results"])
    assert (result.experiment, result.dataset, result.form) == ("audio", "speech", form)
    assert result.unit == "bits per sample"
    assert -20 < result.nll < 20
    assert result.n_outputs == (2 if form == "gaussian" else 30)
    assert result.data["rate"] == 8000
    assert 0 < result.measures["mcd"] < 200
    assert 0 < result.measures["mu_law_shift"] < 6
    folder = home / FOLDER / f"{form}_0"
    for file in ("real.wav", "synthesized.wav"):
        rate, samples = wavfile.read(folder / file)
        assert (rate, samples.dtype, samples.shape) == (8000, np.int16, (2 * 80,))
    assert imread(folder / "spectrograms.png").ndim == 3


def test_a_finished_training_synthesizes_the_same_again(audio: RunAudio, home: Path) -> None:
    audio()
    path = home / FOLDER / "adacat_0" / "synthesized.wav"
    before = path.read_bytes()
    path.unlink()
    torch.manual_seed(99)
    audio("--resume")
    assert path.read_bytes() == before


def test_the_paper_preset_has_the_papers_settings() -> None:
    config = AudioArguments().parse(["--preset", "paper", "--dataset", "ljspeech"]).settings(AudioConfig)
    expected = {"n_layers": 24, "crop": 1024, "batch_size": 8, "n_steps": 500_000, "learning_rate": 1e-3}
    expected |= {"lr_schedule": "halve", "lr_halve_every": 0.4, "ema_decay": 0.9999, "n_bins": 128}
    expected |= {"smooth_coeff": 1e-4, "smooth_start": None, "test_seconds": None}
    assert to_flat(config).items() >= expected.items()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n_clips", "-1"], "--n_clips"),
        (["--clip_seconds", "9"], "--clip_seconds"),
        (["--clip_seconds", "0"], "--clip_seconds"),
        (["--data", "nowhere"], "make speech"),
        (["--form", "gaussian", "--n_bins", "3"], "--n_bins"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(audio: RunAudio, home: Path, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audio(*flags)
    assert not (home / "results").exists()
    assert not (home / "logs").exists()


def test_no_clips_need_no_long_recording(audio: RunAudio, home: Path) -> None:
    audio("--clip_seconds", "9", "--n_clips", "0")
    (result,) = load_density_results([home / "results"])
    assert set(result.measures) == {"mu_law_shift"}
