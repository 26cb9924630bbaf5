"""Recorded speech in LJSpeech's layout: ``metadata.csv`` beside ``wavs/*.wav``."""

import hashlib
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from trajectory_adacat.errors import DataError, InputError

HELD_OUT = 0.05  # share of the recordings in each of the validation and the test split
SPLIT_SEED = 0


@dataclass(frozen=True)
class SpeechData:
    """The splits of a set of recordings, each an int16 array of samples.

    Attributes:
        training: recordings.
        validation: recordings.
        test: recordings.
        rate: samples per second.
        sha256: hash of all recordings of the folder.
    """

    training: list[np.ndarray]
    validation: list[np.ndarray]
    test: list[np.ndarray]
    rate: int
    sha256: str


def load_speech(
    folder: Path,
    training_seconds: float | None = None,
    validation_seconds: float | None = None,
    test_seconds: float | None = None,
) -> SpeechData:
    """Read a folder of LJSpeech's layout and split its recordings at random, the same way each time.

    A twentieth of the recordings is held out for validation, another for testing.

    Args:
        folder: holds ``metadata.csv``, whose lines begin with a recording's name and ``|``, and ``wavs/<name>.wav``:
            16 bits, one channel, all with one sampling rate.
        training_seconds: the training split is cut to this length; None: all of it.
        validation_seconds: likewise.
        test_seconds: likewise.

    Raises:
        InputError: if a file is missing or of another format, or there are fewer than three recordings.
    """
    names = recording_names(folder)
    if len(names) < 3:
        raise InputError(f"{folder} holds {len(names)} recordings: at least 3 are needed, one for each split.")
    recordings, rates, digest = [], set(), hashlib.sha256()
    for name in names:
        rate, samples = read_wav(folder / "wavs" / f"{name}.wav")
        recordings.append(samples)
        rates.add(rate)
        digest.update(f"{name} {rate} {len(samples)}\n".encode() + samples.astype("<i2").tobytes())
    if len(rates) > 1:
        raise InputError(f"The recordings in {folder} have several sampling rates: {', '.join(map(str, rates))} Hz.")
    (rate,) = rates
    order = np.random.default_rng(SPLIT_SEED).permutation(len(recordings))
    n_held_out = max(1, round(HELD_OUT * len(recordings)))
    test, validation, training = np.split(order, [n_held_out, 2 * n_held_out])
    return SpeechData(
        training=cut([recordings[i] for i in training], training_seconds, rate),
        validation=cut([recordings[i] for i in validation], validation_seconds, rate),
        test=cut([recordings[i] for i in test], test_seconds, rate),
        rate=rate,
        sha256=digest.hexdigest(),
    )


def recording_names(folder: Path) -> list[str]:
    """Return the names of the recordings that ``metadata.csv`` lists, in its order.

    Raises:
        InputError: if there is no such file.
    """
    metadata = folder / "metadata.csv"
    if not metadata.exists():
        raise InputError(f"{folder} holds no metadata.csv: run `make speech`, or give a folder of LJSpeech's layout.")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    return [line.partition("|")[0] for line in lines if line.strip()]


def read_wav(path: Path) -> tuple[int, np.ndarray]:
    """Return the sampling rate and the samples of a WAV file, int16 ``[n]``.

    Raises:
        InputError: if it is missing, damaged, cut off, or not of 16 bits and one channel.
    """
    try:
        with warnings.catch_warnings():
            # The reader only warns of a file that ends within its data.
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing, but metadata.csv lists it.") from error
    except (ValueError, EOFError, struct.error, ZeroDivisionError, UnboundLocalError) as error:
        raise DataError(f"{path} is no WAV file, or damaged: {error}") from error
    except wavfile.WavFileWarning as error:
        raise DataError(f"{path} is cut off: {error} Copy the file again.") from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise InputError(f"{path} must have 16 bits and one channel, got {samples.dtype}, shape {samples.shape}.")
    return rate, samples


def cut(recordings: list[np.ndarray], seconds: float | None, rate: int) -> list[np.ndarray]:
    """Return the first ``seconds`` of all recordings together; None: all."""
    if seconds is None:
        return recordings
    left, kept = round(seconds * rate), []
    for samples in recordings:
        kept.append(samples[:left])
        left -= len(kept[-1])
        if left == 0:
            break
    return kept
