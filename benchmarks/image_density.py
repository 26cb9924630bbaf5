"""Test likelihood of images by number of outputs: AdaCat, uniform bins, adaptive quantiles, logistic mixture (Table 2).

Run ``python -m benchmarks.image_density`` from the repository, after ``make mnist``. Finished trainings are lines of
``<out>/density.jsonl`` and are not repeated. ``trajectory-adacat density plot`` draws Figure 4 from them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.config.density import heads_of
from trajectory_adacat.density.images import ImagesConfig
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, load_density_results
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_images import SAMPLES_FILE, ImagesArguments
from trajectory_adacat.settings import to_nested


class ImageDensityArguments(CommandParser):
    """Train every form with several numbers of outputs."""

    outputs: list[int] = [32, 128]  # outputs for each pixel
    forms: list[str] = ["adacat", "uniform", "adaptive_quantile", "logistic_mixture"]  # forms of the outputs
    seeds: list[int] = [0, 1, 2]  # training seeds
    preset: str = "small"  # preset of the trainings
    device: str = "cpu"  # torch device
    data: Path = Path("data/mnist")  # folder of the images
    logbase: str = "logs/density"  # folder of the trainings
    out: Path = Path("results/density/images")  # folder of the results and of the first seed's samples
    more: list[str] = []  # further flags of all trainings, as flag=value


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing."""
    arguments = ImageDensityArguments().parse(argv)
    for seed in arguments.seeds:
        for n_outputs in arguments.outputs:
            for form in arguments.forms:
                train(arguments, form, n_outputs, seed)


def train(arguments: ImageDensityArguments, form: str, n_outputs: int, seed: int) -> None:
    """Run a training, unless it is finished, and keep the samples of the first seed."""
    name = f"images/{arguments.preset}/{form}_{n_outputs}_{seed}"
    flags = ["--preset", arguments.preset, "--form", form, "--seed", str(seed), "--exp_name", name, "--overwrite"]
    flags += ["--device", arguments.device, "--data", str(arguments.data), "--logbase", arguments.logbase]
    flags += ["--out", str(arguments.out), "--n_saves", "1", *(f"--{flag}" for flag in arguments.more)]
    for setting, value in heads_of(n_outputs)[f"images:{form}"].items():
        flags += [f"--{setting}", str(value)]
    parsed = ImagesArguments().parse(flags)
    settings = to_nested(parsed.settings(ImagesConfig))
    found = load_density_results([arguments.out]) if (arguments.out / RESULTS_FILE).exists() else []
    if any((result.form, result.seed, result.settings) == (form, seed, settings) for result in found):
        return
    density.main(["images", *flags])
    if seed == arguments.seeds[0]:
        shutil.copy(parsed.savepath / SAMPLES_FILE, arguments.out / f"samples_{form}_{n_outputs}.png")


if __name__ == "__main__":
    run_command(main)
