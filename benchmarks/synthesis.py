"""Samples per second of WaveNet's synthesis, with kept activations (Paine et al. 2016) and without.

``python -m benchmarks.synthesis`` prints the table, for random weights of a preset's sizes; ``--out`` writes JSON.
Without kept activations, the network runs anew over the receptive field for each sample.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.density.audio import AudioConfig, next_levels, synthesize
from trajectory_adacat.density.levels import LEVELS
from trajectory_adacat.density.wavenet import WaveNet
from trajectory_adacat.files import write_atomically
from trajectory_adacat.provenance import git_revision, library_versions, processor
from trajectory_adacat.scripts.density_audio import AudioArguments


class SynthesisArguments(CommandParser):
    """Time the synthesis of clips, all at once."""

    preset: str = "small"  # preset of the sizes
    form: str = "adacat"  # form of the outputs
    clips: int = 4  # clips that are synthesized side by side
    frames: int = 8  # mel frames of each clip
    repeats: int = 3  # timings of each way, of which the fastest counts
    threads: int = 1  # threads of this process
    device: str = "cpu"  # torch device
    out: Path | None = None  # JSON file of the speeds, the settings and the machine


def main(argv: Sequence[str] | None = None) -> None:
    """Print the samples per second and the factor between the two ways, and write them."""
    arguments = SynthesisArguments().parse(argv)
    use_threads(arguments.threads)
    config = AudioArguments().parse(["--preset", arguments.preset, "--form", arguments.form]).settings(AudioConfig)
    torch.manual_seed(0)
    model = WaveNet(config.model, config.data.n_mels, config.data.hop).to(use_device(arguments.device)).eval()
    mel = torch.randn(arguments.clips, arguments.frames, config.data.n_mels, device=model.mel_mean.device)
    ways = (synthesize, synthesize_anew)  # in turn, so that other processes slow both
    timings = [[samples_per_second(way, model, mel) for way in ways] for _ in range(arguments.repeats)]
    kept, anew = (max(speeds) for speeds in zip(*timings, strict=True))
    print("| preset | clips | receptive field | kept (samples/s) | anew (samples/s) | factor |")
    print("|---|---|---|---|---|---|")
    reach, factor = config.model.receptive_field, kept / anew
    print(f"| {arguments.preset} | {arguments.clips} | {reach} | {kept:,.0f} | {anew:,.0f} | {factor:.1f} |")
    if arguments.out is not None:
        speeds = {"receptive_field": reach, "kept": kept, "anew": anew, "factor": factor}
        write_speeds(arguments.out, arguments, speeds)


def write_speeds(out: Path, arguments: SynthesisArguments, speeds: dict[str, float]) -> None:
    """Write the samples per second ``kept`` and ``anew`` as JSON, with the settings and the machine."""
    names = ("preset", "form", "clips", "frames", "repeats", "threads", "device")
    values = {name: getattr(arguments, name) for name in names} | speeds
    values["versions"] = {**library_versions(), "processor": processor(arguments.device)}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps({**values, "git_revision": git_revision()}, indent=2) + "\n")


def samples_per_second(way: Callable[[WaveNet, Tensor], Tensor], model: WaveNet, mel: Tensor) -> float:
    """Return the samples of all clips together in a second of this process's time, on a GPU of the wall clock."""
    clock = time.process_time if mel.device.type == "cpu" else time.perf_counter
    started = clock()
    count = way(model, mel).cpu().numel()
    return count / (clock() - started)


@torch.inference_mode()
def synthesize_anew(model: WaveNet, mel: Tensor) -> Tensor:
    """Do what `synthesize` does, with the whole receptive field for each sample."""
    head: Any = model.head
    hop, n_frames = model.hop, -(-model.config.receptive_field // model.hop) + 1
    levels = torch.full((len(mel), mel.shape[1] * hop), LEVELS // 2, device=mel.device)
    for i in range(levels.shape[1]):
        frame = i // hop
        first = max(0, frame + 1 - n_frames)
        window = levels[:, first * hop : (frame + 1) * hop]
        hidden = model.hidden(window, mel[:, first : frame + 1])[:, i - first * hop]
        levels[:, i] = next_levels(head.distribution_of(hidden, 0))
    return levels


if __name__ == "__main__":
    run_command(main)
