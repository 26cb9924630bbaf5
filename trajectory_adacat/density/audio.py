"""Density models of speech (Section 4.3, Table 3): a WaveNet whose heads give each sample's distribution."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trajectory_adacat.density.audio_data import SpeechData
from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.levels import (
    LEVELS,
    centres,
    level_log_prob,
    mu_law_log_width,
    raw_log_width,
    to_levels,
)
from trajectory_adacat.density.objective import DensityObjective, Split
from trajectory_adacat.density.spectra import mel_spectrogram
from trajectory_adacat.density.wavenet import WaveNet, WaveNetConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.config import check_positive

PART = 4096  # samples whose distributions are evaluated at once
N_STATISTICS = 2**20  # training samples from which the standardization is estimated


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig:
    """Which audio is used, and the spectrum it is conditioned on.

    Raises:
        InputError: for a value out of range.
    """

    crop: int = 1024  # samples of a training example
    n_fft: int = 256  # window of the mel spectrum, in samples
    hop: int = 64  # samples of a mel frame
    n_mels: int = 20  # mel bands
    training_seconds: float | None = None  # length of the training split; none: all
    validation_seconds: float | None = 8.0  # length of the validation split; none: all
    test_seconds: float | None = 30.0  # length of the test split; none: all

    def __post_init__(self) -> None:
        check_positive(self, ("crop", "n_fft", "hop", "n_mels"))
        check_positive(self, ("training_seconds", "validation_seconds", "test_seconds"))
        if self.crop % self.hop:
            raise InputError(f"crop must be a multiple of hop {self.hop}, got {self.crop}.")

    def mel(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Return the mel spectrum of int16 ``samples [n]``, ``[n // hop, M]``."""
        return mel_spectrogram(samples / (LEVELS / 2), rate, self.n_fft, self.hop, self.n_mels)


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """All settings that define the method of a training on audio."""

    data: AudioDataConfig = field(default_factory=AudioDataConfig)
    model: WaveNetConfig = field(default_factory=WaveNetConfig)
    trainer: DensityTrainerConfig = field(default_factory=DensityTrainerConfig)


@dataclass(frozen=True)
class Recording:
    """A recording, cut to whole mel frames.

    Attributes:
        samples: int16 ``[T]``. LJSpeech has 1.9e9 of them, so levels are made only where they are used.
        mel: ``[T / hop, M]``.
    """

    samples: Tensor
    mel: Tensor

    @property
    def levels(self) -> Tensor:
        """The 16-bit levels of all samples, int64 ``[T]``."""
        return to_levels(self.samples)


class AudioObjective(DensityObjective):
    """A model of speech. The likelihood of a 16-bit sample is the mass of its level's interval.

    `negative_log_likelihood` is minus the logarithm of the mean density in that interval, of the waveform in [-1, 1].

    Args:
        config: the settings.
        data: the recordings.
        device: of the model.

    Attributes:
        splits: the recordings of each split that are at least a frame long; for training, a crop.

    Raises:
        InputError: if a split has none.
    """

    unit = "bits per sample"
    model: WaveNet

    def __init__(self, config: AudioConfig, data: SpeechData, device: torch.device) -> None:
        self._config, self._device = config.data, device
        lengths = {"training": config.data.crop, "validation": config.data.hop, "test": config.data.hop}
        self.splits = {name: self._read(data, name, length) for name, length in lengths.items()}
        crops = torch.tensor([len(recording.samples) // config.data.crop for recording in self.splits["training"]])
        self._example_of = torch.arange(len(crops)).repeat_interleave(crops)  # the recording of each training example
        self.n_examples = len(self._example_of)
        self.model = WaveNet(config.model, config.data.n_mels, config.data.hop)
        self._fit(config.model)
        self.model.to(device)

    def _read(self, data: SpeechData, split: str, shortest: int) -> list[Recording]:
        hop, found = self._config.hop, []
        for samples in getattr(data, split):
            if len(samples) >= shortest:
                whole = samples[: len(samples) // hop * hop].astype(np.int16, copy=False)
                found.append(Recording(torch.from_numpy(whole), torch.from_numpy(self._config.mel(samples, data.rate))))
        if not found:
            raise InputError(f"No recording of the {split} split has at least {shortest} samples.")
        return found

    def _fit(self, config: WaveNetConfig) -> None:
        """Set the statistics of the model, and the edges of quantile bins, from the training recordings."""
        levels = to_levels(self._first_samples(N_STATISTICS))
        self.model.set_statistics(torch.cat([recording.mel for recording in self.splits["training"]]), levels)
        embedding, _ = config.form.make(1, config.skip)  # not used, but its edges are set too
        config.form.fit(embedding, self.model.head, centres(levels).float().unsqueeze(-1))

    def _first_samples(self, count: int) -> Tensor:
        """Return the first ``count`` training samples, or all if there are fewer."""
        parts: list[Tensor] = []
        for recording in self.splits["training"]:
            parts.append(recording.samples[:count])
            count -= len(parts[-1])
        return torch.cat(parts)

    def loss(self, indices: Tensor, progress: float) -> Tensor:
        """Return the mean loss of a sample, in nats of the waveform in [0, 1], over random crops of the recordings.

        Heads with bins have their own loss, smoothed for AdaCat. The others are trained on the mass of the level, as
        their density at a point has no bound in silence.
        """
        levels, mel = self._crops(indices)
        head: Any = self.model.head
        head.set_progress(progress)
        distribution = head.distribution_of(self.model.hidden(levels, mel), 0)
        if head.has_bins:
            return head.loss(distribution, centres(levels)).mean()
        return -(level_log_prob(distribution, levels) + math.log(LEVELS)).mean()

    def _crops(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return random crops of the recordings of the examples: levels ``[B, crop]``, mel ``[B, crop / hop, M]``."""
        hop, n_frames = self._config.hop, self._config.crop // self._config.hop
        levels, mel = [], []
        for recording in (self.splits["training"][self._example_of[index]] for index in indices):
            start = int(torch.randint(len(recording.mel) - n_frames + 1, ()))
            levels.append(to_levels(recording.samples[start * hop : (start + n_frames) * hop]))
            mel.append(recording.mel[start : start + n_frames])
        return torch.stack(levels).to(self._device), torch.stack(mel).to(self._device)

    def negative_log_likelihood(self, model: nn.Module, split: Split) -> float:
        """Return the mean over a split's samples, in bits, of the waveform in [-1, 1]."""
        total, count = 0.0, 0
        for recording in self.splits[split]:
            levels = recording.levels.to(self._device)
            hidden = model.hidden(levels[None], recording.mel[None].to(self._device))[0]  # type: ignore[operator]
            for some, part in zip(hidden.split(PART), levels.split(PART), strict=True):
                total -= float(level_log_prob(model.head.distribution_of(some, 0), part).double().sum())  # type: ignore
            count += len(levels)
        return (total / count + raw_log_width()) / math.log(2)

    def mu_law_shift(self, split: Split) -> float:
        """Return what to add to the negative log-likelihood of the waveform for that of its mu-law values, in bits.

        A level has the same mass on both scales. The mean densities differ by the ratio of its widths there, which does
        not depend on the model.
        """
        widths = torch.cat([mu_law_log_width(recording.levels) for recording in self.splits[split]])
        return float(widths.mean() - raw_log_width()) / math.log(2)


@torch.inference_mode()
def synthesize(model: WaveNet, mel: Tensor) -> Tensor:
    """Draw samples one by one from frames ``mel [B, F, M]``; levels, int64 ``[B, F * hop]``."""
    generator = model.start(mel)
    head: Any = model.head
    level = torch.full((len(mel),), LEVELS // 2, device=mel.device)
    levels = []
    for _ in range(mel.shape[1] * model.hop):
        level = next_levels(head.distribution_of(generator.step(level), 0))
        levels.append(level)
    return torch.stack(levels, 1)


def next_levels(distribution: Any) -> Tensor:
    """Draw levels, int64 of the batch shape."""
    return (distribution.sample().double() * LEVELS).long().clamp(0, LEVELS - 1)
