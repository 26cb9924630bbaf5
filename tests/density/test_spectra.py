"""Mel spectra and the mel-cepstral distance."""

import numpy as np
import pytest

from trajectory_adacat.density.spectra import (
    FLOOR,
    mel_cepstra,
    mel_cepstral_distance,
    mel_filters,
    mel_spectrogram,
)
from trajectory_adacat.errors import InputError

RATE = 8000


def noise(seed: int = 0, n: int = 2048) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n)


def test_a_tone_lies_in_the_band_of_its_frequency() -> None:
    filters = mel_filters(RATE, 256, 20)
    for band in (3, 10, 18):
        frequency = filters[band].argmax() * RATE / 256
        tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(2048) / RATE)
        spectrum = mel_spectrogram(tone, RATE, 256, 64, 20)
        assert spectrum.shape == (32, 20)
        assert set(spectrum[4:-4].argmax(-1)) == {band}


def test_a_frame_sees_its_window_alone() -> None:
    samples = noise(n=1024)
    before = mel_spectrogram(samples, RATE, 256, 64, 20)
    samples[640:] = 0.0
    changed = np.abs(mel_spectrogram(samples, RATE, 256, 64, 20) - before).max(-1) > 1e-4
    # Frame i has its window around sample 64 i + 32.
    assert changed.tolist() == [64 * i + 32 + 128 > 640 for i in range(16)]


def test_silence_has_the_floor_and_a_louder_signal_a_higher_level() -> None:
    assert mel_spectrogram(np.zeros(256), RATE, 256, 64, 20) == pytest.approx(np.log(FLOOR))
    difference = mel_spectrogram(2 * noise(), RATE, 256, 64, 20) - mel_spectrogram(noise(), RATE, 256, 64, 20)
    assert difference == pytest.approx(np.log(4), abs=1e-3)


def test_the_distance_is_that_of_the_bands_in_decibel_without_the_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bands that differ by a d cos(pi (m + 1/2) i / 24) dB differ by d / sqrt(2) dB in the root mean square.
    bands = np.arange(24)
    shift = 3.0 * np.cos(np.pi * (bands + 0.5) * 2 / 24) * np.log(10) / 10
    spectra = iter([np.zeros((5, 24)), np.tile(shift, (5, 1)) + 7.0])
    monkeypatch.setattr("trajectory_adacat.density.spectra.mel_spectrogram", lambda *_: next(spectra))
    assert mel_cepstral_distance(np.zeros(8), np.zeros(8), RATE) == pytest.approx(3.0 / 2**0.5)


def test_a_recording_has_no_distance_to_itself_nor_to_a_louder_copy() -> None:
    assert mel_cepstral_distance(noise(), noise(), RATE) == 0.0
    assert mel_cepstral_distance(noise(), 2 * noise(), RATE) == pytest.approx(0.0, abs=1e-3)


def test_a_filtered_recording_is_farther_than_another_of_the_same_spectrum() -> None:
    filtered = np.convolve(noise(), [1.0, 0.9], mode="same")
    assert mel_cepstral_distance(noise(), filtered, RATE) > 1.3 * mel_cepstral_distance(noise(), noise(1), RATE) / 2
    several = mel_cepstral_distance(np.stack([noise(), noise()]), np.stack([noise(), filtered]), RATE)
    assert several == pytest.approx(mel_cepstral_distance(noise(), filtered, RATE) / 2)


def test_cepstra_have_twelve_coefficients() -> None:
    assert mel_cepstra(noise(), RATE).shape == (2048 // 64, 12)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="n_fft must be at least hop"):
        mel_spectrogram(noise(), RATE, 32, 64, 4)
    with pytest.raises(InputError, match="n_mels 80"):
        mel_filters(RATE, 64, 80)
