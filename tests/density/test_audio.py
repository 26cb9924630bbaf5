"""The model of speech: its likelihood, its losses and its samples."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trajectory_adacat.density.audio import AudioConfig, AudioDataConfig, AudioObjective, synthesize
from trajectory_adacat.density.audio_data import SpeechData
from trajectory_adacat.density.forms import AUDIO_FORMS
from trajectory_adacat.density.levels import LEVELS, mu_law_log_width, raw_log_width, to_levels
from trajectory_adacat.density.wavenet import WaveNetConfig
from trajectory_adacat.errors import InputError

SIZES = {"n_layers": 2, "n_stacks": 1, "residual": 4, "skip": 6}
DATA = AudioDataConfig(crop=32, n_fft=32, hop=16, n_mels=3)


def tone(n: int, phase: float) -> np.ndarray:
    return (6000 * np.sin(0.3 * np.arange(n) + phase)).astype(np.int16)


def objective(form: str = "adacat", data: AudioDataConfig = DATA, **head: Any) -> AudioObjective:
    torch.manual_seed(0)
    speech = SpeechData([tone(100, 0), tone(20, 1), tone(70, 2)], [tone(50, 3)], [tone(64, 4)], 8000, "0")
    config = AudioConfig(data=data, model=WaveNetConfig(form=AUDIO_FORMS[form](**head), **SIZES))
    return AudioObjective(config, speech, torch.device("cpu"))


def test_the_training_examples_are_as_many_as_whole_crops() -> None:
    assert objective().n_examples == 3 + 0 + 2


def test_recordings_are_cut_to_whole_frames() -> None:
    (recording,) = objective().splits["validation"]
    assert recording.samples.dtype == torch.int16  # not the levels, of four times the size
    assert recording.levels.shape == (48,)
    assert recording.mel.shape == (3, 3)
    assert torch.equal(recording.levels, to_levels(torch.from_numpy(tone(50, 3)))[:48])


@pytest.mark.parametrize("count", [50, 150, 1000])
def test_samples_are_standardized_by_the_first_ones_of_training(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("trajectory_adacat.density.audio.N_STATISTICS", count)
    samples = np.concatenate((tone(100, 0)[:96], tone(70, 2)[:64]))[:count]  # whole frames of the long recordings
    assert float(objective().model.sample_std) == pytest.approx(float(samples.std(ddof=1)) / (LEVELS / 2))


@torch.no_grad()
def test_a_constant_density_of_one_half_has_one_bit() -> None:
    audio = objective("uniform", N=8)
    torch.nn.init.zeros_(audio.model.head.weight)
    for split in ("validation", "test"):
        assert audio.negative_log_likelihood(audio.model.eval(), split) == pytest.approx(1.0, abs=1e-6)
    assert float(audio.loss(torch.arange(3), 0.0)) == pytest.approx(0.0, abs=1e-6)  # of the waveform in [0, 1]


@torch.no_grad()
def test_the_shift_gives_the_likelihood_of_the_mu_law_values() -> None:
    audio = objective("mu_law", N=256)
    torch.nn.init.zeros_(audio.model.head.weight)
    # Equal masses of bins of equal width on the mu-law scale: a density of one half there.
    raw = audio.negative_log_likelihood(audio.model.eval(), "test")
    assert raw + audio.mu_law_shift("test") == pytest.approx(1.0, abs=0.05)
    (recording,) = audio.splits["test"]
    expected = (mu_law_log_width(recording.levels) - raw_log_width()).mean() / math.log(2)
    assert audio.mu_law_shift("test") == pytest.approx(float(expected))


@pytest.mark.parametrize("form", AUDIO_FORMS)
def test_every_form_learns(form: str) -> None:
    audio = objective(form)
    optimizer = torch.optim.Adam(audio.model.parameters(), 0.01)
    with torch.no_grad():
        before = audio.negative_log_likelihood(audio.model, "validation")
    for _ in range(30):
        optimizer.zero_grad()
        audio.loss(torch.arange(5), 0.0).backward()
        optimizer.step()
    with torch.no_grad():
        after = audio.negative_log_likelihood(audio.model, "validation")
    assert after < before - 0.1


def test_adacat_is_trained_on_smoothed_targets() -> None:
    with torch.no_grad():
        losses = []
        for progress in (0.0, 1.0):
            audio = objective("adacat", smooth_start=0.5, smooth_coeff=1e-4)
            torch.nn.init.normal_(audio.model.head.weight, generator=torch.Generator().manual_seed(0))
            torch.manual_seed(0)
            losses.append(float(audio.loss(torch.arange(3), progress)))
    assert losses[0] != losses[1]


@torch.no_grad()
def test_the_scale_of_a_density_may_fall_to_a_level() -> None:
    audio = objective("gaussian")
    audio.model.head.weight.fill_(-100.0)
    scale = audio.model.head.distribution_of(torch.ones(6), 0).scale
    assert float(scale) == pytest.approx(1 / LEVELS, rel=1e-4)


@pytest.mark.parametrize("form", AUDIO_FORMS)
@torch.no_grad()
def test_samples_with_a_cache_are_those_of_the_whole_series(form: str) -> None:
    model = objective(form).model.eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    mel = torch.randn(3, 1, 3)
    torch.manual_seed(1)
    cached = synthesize(model, mel)

    torch.manual_seed(1)
    levels = torch.full((3, 16), LEVELS // 2)
    for i in range(16):
        drawn = model.head.distribution_of(model.hidden(levels, mel)[:, i], 0).sample()
        levels[:, i] = (drawn.double() * LEVELS).long().clamp(0, LEVELS - 1)
    assert (cached - levels).abs().max() <= 0.001 * LEVELS  # rounding may move a sample by some levels


@torch.no_grad()
def test_samples_follow_the_distribution() -> None:
    model = objective("uniform", N=4).model.eval()
    torch.nn.init.zeros_(model.head.weight)
    levels = synthesize(model, torch.zeros(200, 1, 3))
    assert levels.shape == (200, 16)
    assert float(levels.double().mean()) / LEVELS == pytest.approx(0.5, abs=0.03)


def test_quantile_bins_are_those_of_the_training_samples() -> None:
    edges = objective("quantile", N=4).model.head.edges[0, 1:-1]
    amplitude = 6000 / LEVELS
    assert ((edges > 0.5 - amplitude) & (edges < 0.5 + amplitude)).all()


def test_settings_and_recordings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="multiple of hop"):
        replace(DATA, crop=33)
    with pytest.raises(InputError, match="test_seconds"):
        replace(DATA, test_seconds=0.0)
    with pytest.raises(InputError, match="training split has at least 160"):
        objective(data=replace(DATA, crop=160))
