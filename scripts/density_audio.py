"""Train a density model of speech and synthesize some: ``trajectory-adacat density audio``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.io import wavfile
from tap import TapIgnore

from trajectory_adacat.command_line import run_command
from trajectory_adacat.density.audio import AudioConfig, AudioObjective, synthesize
from trajectory_adacat.density.audio_data import SpeechData, load_speech
from trajectory_adacat.density.levels import to_samples
from trajectory_adacat.density.spectra import mel_cepstral_distance
from trajectory_adacat.density.trainer import DensityTrainer
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts.density_training import DensityParser, train_density
from trajectory_adacat.training.config import BasicRunConfig

REAL_FILE, SYNTHESIZED_FILE, FIGURE_FILE = "real.wav", "synthesized.wav", "spectrograms.png"
FULL_SCALE = 32768


class AudioArguments(DensityParser):
    """Train a WaveNet on speech (the paper's Section 4.3), test it and synthesize held-out speech from its spectrum."""

    section: TapIgnore[str] = "audio"
    configs: TapIgnore[tuple[type, ...]] = (AudioConfig, BasicRunConfig)

    dataset: str = "speech"  # name of the recordings in the results, and of their preset
    exp_name: str = "audio/{form}_{seed}"  # experiment name; {flag} stands for another flag's value
    data: Path = Path("data/speech")  # folder of LJSpeech's layout (make speech)
    n_clips: int = 4  # test recordings whose beginnings are synthesized; 0: none
    clip_seconds: float = 0.5  # length of each

    def parse(self, argv: Sequence[str] | None = None) -> Self:
        """Read and check the flags.

        Raises:
            InputError: also for a number or a length of clips out of range.
        """
        super().parse(argv)
        if self.n_clips < 0 or not self.clip_seconds > 0:
            raise InputError("--n_clips must not be negative, and --clip_seconds must be above 0.")
        return self

    def load_data(self, config: AudioConfig) -> SpeechData:
        """Read the recordings."""
        seconds = config.data.training_seconds, config.data.validation_seconds, config.data.test_seconds
        return load_speech(self.data, *seconds)

    def sample_files(self) -> tuple[str, ...]:
        """Return the names of the recordings and the figure, if clips are synthesized."""
        return (REAL_FILE, SYNTHESIZED_FILE, FIGURE_FILE) if self.n_clips else ()

    def sampling(self) -> dict[str, Any]:
        """Return the number of clips and their length."""
        return {"n_clips": self.n_clips, **({"clip_seconds": self.clip_seconds} if self.n_clips else {})}


def main(argv: Sequence[str] | None = None) -> None:
    """Train, synthesize, test and write the result."""
    arguments = AudioArguments().parse(argv)
    rates: list[int] = []

    def make_objective(config: AudioConfig, device: torch.device) -> tuple[AudioObjective, dict[str, Any]]:
        data = arguments.load_data(config)
        rates.append(data.rate)
        objective = AudioObjective(config, data, device)
        if arguments.n_clips:
            first_clips(objective, arguments.n_clips, round(arguments.clip_seconds * data.rate))  # its checks
        lengths = [sum(map(len, split)) / data.rate for split in (data.training, data.validation, data.test)]
        return objective, {"sha256": data.sha256, "seconds": lengths, "rate": data.rate}

    def finish(trainer: DensityTrainer) -> dict[str, float]:
        objective: Any = trainer.objective
        measures = {"mu_law_shift": objective.mu_law_shift("test")}
        if arguments.n_clips:
            measures["mcd"] = synthesize_clips(arguments, trainer, rates[0])
        return measures

    train_density(arguments, argv, AudioConfig, make_objective, finish)


def synthesize_clips(arguments: AudioArguments, trainer: DensityTrainer, rate: int) -> float:
    """Synthesize the clips, write WAV files and a figure, and return the mel-cepstral distance in dB."""
    objective: Any = trainer.objective
    levels, mel = first_clips(objective, arguments.n_clips, round(arguments.clip_seconds * rate))
    model: Any = trainer.best_model()
    torch.manual_seed(trainer.run.seed)
    drawn = synthesize(model, mel.to(next(model.parameters()).device)).cpu()
    real, synthesized = to_samples(levels).numpy(), to_samples(drawn).numpy()
    wavfile.write(arguments.savepath / REAL_FILE, rate, real.ravel())
    wavfile.write(arguments.savepath / SYNTHESIZED_FILE, rate, synthesized.ravel())
    draw_spectrograms(arguments.savepath / FIGURE_FILE, real.ravel(), synthesized.ravel(), rate)
    if arguments.verbose:
        print(f"{arguments.savepath}: {REAL_FILE}, {SYNTHESIZED_FILE}, {FIGURE_FILE}")
    return mel_cepstral_distance(real / FULL_SCALE, synthesized / FULL_SCALE, rate)


def first_clips(objective: AudioObjective, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the beginnings of test recordings: levels ``[count, length]`` and mel frames ``[count, F, M]``.

    The length is rounded down to whole frames.

    Raises:
        InputError: if there are fewer recordings of this length.
    """
    n_frames = length // objective.model.hop
    long = [recording for recording in objective.splits["test"] if len(recording.mel) >= max(n_frames, 1)]
    if n_frames < 1 or len(long) < count:
        raise InputError(
            f"{len(long)} recordings of the test split have a length of --clip_seconds, and it must be at least a "
            f"frame: lower --n_clips {count} or --clip_seconds, or raise --test_seconds."
        )
    n_samples = n_frames * objective.model.hop
    levels = torch.stack([recording.levels[:n_samples] for recording in long[:count]])
    return levels, torch.stack([recording.mel[:n_frames] for recording in long[:count]])


def draw_spectrograms(path: Path, real: np.ndarray, synthesized: np.ndarray, rate: int) -> None:
    """Draw the spectrograms of int16 recordings side by side, the first four seconds."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 3), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, samples, title in zip(both, (real, synthesized), ("real", "synthesized"), strict=True):
        some = samples[: 4 * rate] / FULL_SCALE + 1e-6
        n_fft = min(256, len(some) // 2)
        scale = {"vmin": -120, "vmax": -30, "cmap": "magma"}
        _, _, _, image = axes.specgram(some, NFFT=n_fft, Fs=rate, noverlap=n_fft // 2, **scale)
        axes.set(title=title, xlabel="time (s)")
    both[0].set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=both, label="dB per Hz")
    figure.savefig(path, dpi=64)


if __name__ == "__main__":
    run_command(main)
