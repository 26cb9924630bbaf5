"""Mel spectra of audio, and the distance between two recordings' mel cepstra."""

import math

import numpy as np
from scipy.fft import dct, rfft
from scipy.signal import get_window

from trajectory_adacat.errors import InputError

FLOOR = 1e-8  # least power of a band: 80 dB below a full-scale square wave
N_CEPSTRA = 12
DECIBEL = 10 / math.log(10)  # of one unit of the natural logarithm of a power


def mel_spectrogram(samples: np.ndarray, rate: int, n_fft: int, hop: int, n_mels: int) -> np.ndarray:
    """Return the natural logarithm of the power in mel bands, float32 ``[n // hop, n_mels]``.

    Frame i is the middle of samples ``i * hop`` to ``(i + 1) * hop``. Beyond the ends the signal counts as 0.

    Args:
        samples: in [-1, 1], ``[n]``.
        rate: samples per second.
        n_fft: length of the Hann window; at least the hop.
        hop: samples between two frames.
        n_mels: number of bands from 0 to ``rate / 2``.

    Raises:
        InputError: if the window is shorter than the hop, or a band holds no frequency of the transform.
    """
    if n_fft < hop:
        raise InputError(f"n_fft must be at least hop {hop}, got {n_fft}.")
    filters = mel_filters(rate, n_fft, n_mels)
    margin = (n_fft - hop) // 2
    padded = np.pad(np.asarray(samples, np.float32), (margin, n_fft - margin))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop][: len(samples) // hop]
    window = get_window("hann", n_fft).astype(np.float32)
    spectrum = rfft(frames * (window / window.sum()), axis=-1)
    return np.log(np.maximum((spectrum.real**2 + spectrum.imag**2) @ filters.T, FLOOR))


def mel_filters(rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Return triangular filters of equal distance on the mel scale, ``[n_mels, n_fft // 2 + 1]``.

    The scale is ``2595 log10(1 + f / 700)``.

    Raises:
        InputError: if a filter is empty.
    """
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, n_mels + 2) / 2595) - 1)  # Hz
    frequencies = np.arange(n_fft // 2 + 1) * rate / n_fft
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    filters = np.minimum(rising, falling).clip(min=0)
    if not (filters.sum(-1) > 0).all():
        raise InputError(f"n_mels {n_mels} is too large for n_fft {n_fft}: a band holds no frequency.")
    return filters.astype(np.float32)


def mel_cepstral_distance(real: np.ndarray, synthesized: np.ndarray, rate: int) -> float:
    """Return the mean mel-cepstral distance of two aligned recordings of the same length, in dB (Kubichek 1993).

    A frame's distance is ``10 / ln 10 * sqrt(2 sum_i (c_i - c'_i)^2)`` over the coefficients 1 to 12 of the cosine
    transform of the log-powers of 24 mel bands, ``c_i = mean_m(log p_m cos(pi i (m + 1/2) / 24))``. If these
    coefficients held all that differs, it would be the root mean square over the bands in dB. Coefficient 0, the
    loudness, does not count. The frames are not warped in time: a synthesis from a mel spectrum has its timing.

    Args:
        real: ``[..., n]`` in [-1, 1].
        synthesized: likewise.
        rate: samples per second.
    """
    first, second = (
        np.concatenate([mel_cepstra(row, rate) for row in np.reshape(samples, (-1, samples.shape[-1]))])
        for samples in (real, synthesized)
    )
    return float(np.mean(DECIBEL * np.sqrt(2 * np.square(first - second).sum(-1))))


def mel_cepstra(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the coefficients 1 to 12 of each frame of ``samples [n]``, ``[frames, 12]``; windows of about 32 ms."""
    n_fft, n_mels = 2 ** round(math.log2(0.032 * rate)), 24
    spectrum = mel_spectrogram(samples, rate, n_fft, n_fft // 4, n_mels)
    return dct(spectrum, axis=-1)[:, 1 : N_CEPSTRA + 1] / (2 * n_mels)
