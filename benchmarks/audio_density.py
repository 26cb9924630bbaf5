"""Test likelihood and synthesis of speech by form of the outputs (Table 3), at the same number of outputs.

Run ``python -m benchmarks.audio_density`` from the repository, after ``make speech``. Finished trainings are lines of
``<out>/density.jsonl`` and are not repeated; an interrupted one goes on. The recordings of the first seed are kept,
and the spectrograms of the first method.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.density_trainings import ComparisonArguments, Methods, train_missing
from trajectory_adacat.command_line import run_command
from trajectory_adacat.config.density import audio_heads
from trajectory_adacat.density.audio import AudioConfig
from trajectory_adacat.scripts.density_audio import FIGURE_FILE, REAL_FILE, SYNTHESIZED_FILE, AudioArguments

METHODS: Methods = {
    "adacat": ("adacat", {}),
    "adacat_published": ("adacat", {"smooth_start": "none", "smooth_bins": "0"}),
    **{form: (form, {}) for form in ("uniform", "mu_law", "gaussian", "logistic_mixture")},
}


class AudioDensityArguments(ComparisonArguments):
    """Train every method with several seeds."""

    methods: list[str] = list(METHODS)  # methods: forms of the outputs, and adacat_published, its constant smoothing
    n_outputs: int = 30  # outputs for each sample
    data: Path = Path("data/speech")  # folder of LJSpeech's layout
    out: Path = Path("results/density/audio")  # folder of the results and of the first seed's recordings


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing."""
    arguments = AudioDensityArguments().parse(argv)
    for seed in arguments.seeds:
        for method in arguments.methods:
            train(arguments, method, seed)


def train(arguments: AudioDensityArguments, method: str, seed: int) -> None:
    """Run a training, unless it is finished, and keep the recordings of the first seed."""
    form, settings = METHODS[method]
    heads = {name: str(value) for name, value in audio_heads(arguments.n_outputs, {}).get(f"audio:{form}", {}).items()}
    name = f"audio/{arguments.preset}/{method}_{arguments.n_outputs}"
    folder = train_missing(
        "audio", AudioArguments, AudioConfig, arguments.training_flags(name, form, seed, heads | settings)
    )
    if folder is not None and seed == arguments.seeds[0]:
        shutil.copy(folder / REAL_FILE, arguments.out)
        shutil.copy(folder / SYNTHESIZED_FILE, arguments.out / f"{method}_{SYNTHESIZED_FILE}")
        if method == arguments.methods[0]:
            shutil.copy(folder / FIGURE_FILE, arguments.out / f"{method}_{FIGURE_FILE}")


if __name__ == "__main__":
    run_command(main)
