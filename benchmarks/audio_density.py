"""Test likelihood and synthesis of speech by form of the outputs (Table 3), at the same number of outputs.

Run ``python -m benchmarks.audio_density`` from the repository, after ``make speech``. Finished trainings are lines of
``<out>/density.jsonl`` and are not repeated; an interrupted one goes on. The recordings of the first seed are kept,
and the spectrograms of the first method.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.config.density import audio_heads
from trajectory_adacat.density.audio import AudioConfig
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, load_density_results
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_audio import FIGURE_FILE, REAL_FILE, SYNTHESIZED_FILE, AudioArguments
from trajectory_adacat.settings import to_nested

# The name of each method: its form, and the settings that differ from those of the preset.
METHODS: dict[str, tuple[str, dict[str, str]]] = {
    "adacat": ("adacat", {}),
    "adacat_published": ("adacat", {"smooth_start": "none", "smooth_bins": "0"}),
    **{form: (form, {}) for form in ("uniform", "mu_law", "gaussian", "logistic_mixture")},
}


class AudioDensityArguments(CommandParser):
    """Train every method with several seeds."""

    methods: list[str] = list(METHODS)  # methods: forms of the outputs, and adacat_published, its constant smoothing
    n_outputs: int = 30  # outputs for each sample
    seeds: list[int] = [0, 1, 2]  # training seeds
    preset: str = "small"  # preset of the trainings
    device: str = "cpu"  # torch device
    data: Path = Path("data/speech")  # folder of LJSpeech's layout
    logbase: str = "logs/density"  # folder of the trainings
    out: Path = Path("results/density/audio")  # folder of the results and of the first seed's recordings
    more: list[str] = []  # further flags of all trainings, as flag=value


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing."""
    arguments = AudioDensityArguments().parse(argv)
    for seed in arguments.seeds:
        for method in arguments.methods:
            train(arguments, method, seed)


def train(arguments: AudioDensityArguments, method: str, seed: int) -> None:
    """Run a training, unless it is finished, and keep the recordings of the first seed."""
    form, settings = METHODS[method]
    name = f"audio/{arguments.preset}/{method}_{arguments.n_outputs}_{seed}"
    flags = ["--preset", arguments.preset, "--form", form, "--seed", str(seed), "--exp_name", name]
    flags += ["--device", arguments.device, "--data", str(arguments.data), "--logbase", arguments.logbase]
    flags += ["--out", str(arguments.out), *(f"--{flag}" for flag in arguments.more)]
    for setting, value in (heads_of(form, arguments.n_outputs) | settings).items():
        flags += [f"--{setting}", str(value)]
    parsed = AudioArguments().parse(flags)
    if is_finished(arguments.out, form, seed, to_nested(parsed.settings(AudioConfig))):
        return
    density.main(["audio", *flags, *(["--resume"] if list(parsed.savepath.glob("step_*")) else [])])
    if seed == arguments.seeds[0]:
        shutil.copy(parsed.savepath / REAL_FILE, arguments.out)
        shutil.copy(parsed.savepath / SYNTHESIZED_FILE, arguments.out / f"{method}_{SYNTHESIZED_FILE}")
        if method == arguments.methods[0]:
            shutil.copy(parsed.savepath / FIGURE_FILE, arguments.out / f"{method}_{FIGURE_FILE}")


def heads_of(form: str, n_outputs: int) -> dict[str, str]:
    """Return the settings that give a form about ``n_outputs`` outputs."""
    return {name: str(value) for name, value in audio_heads(n_outputs, {}).get(f"audio:{form}", {}).items()}


def is_finished(out: Path, form: str, seed: int, settings: dict[str, object]) -> bool:
    """Return whether the results have this training."""
    found = load_density_results([out]) if (out / RESULTS_FILE).exists() else []
    return any((result.form, result.seed, result.settings) == (form, seed, settings) for result in found)


if __name__ == "__main__":
    run_command(main)
