"""Test likelihood of images by number of outputs: AdaCat, uniform bins, adaptive quantiles, logistic mixture (Table 2).

Run ``python -m benchmarks.image_density`` from the repository, after ``make mnist``. Finished trainings are lines of
``<out>/density.jsonl`` and are not repeated; an interrupted one goes on. ``trajectory-adacat density plot`` draws
Figure 4 from them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.density_trainings import ComparisonArguments, Methods, train_missing
from trajectory_adacat.command_line import run_command
from trajectory_adacat.config.density import heads_of
from trajectory_adacat.density.images import ImagesConfig
from trajectory_adacat.scripts.density_images import SAMPLES_FILE, ImagesArguments

METHODS: Methods = {
    "adacat": ("adacat", {}),
    "adacat_annealed": ("adacat", {"interval_start": "0.2"}),
    **{form: (form, {}) for form in ("uniform", "adaptive_quantile", "logistic_mixture")},
}


class ImageDensityArguments(ComparisonArguments):
    """Train every method with several numbers of outputs."""

    outputs: list[int] = [32, 128, 512]  # outputs for each pixel
    methods: list[str] = list(METHODS)  # methods: forms of the outputs, and adacat_annealed, whose interval narrows
    data: Path = Path("data/mnist")  # folder of the images
    out: Path = Path("results/density/images")  # folder of the results and of the first seed's samples


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing."""
    arguments = ImageDensityArguments().parse(argv)
    for seed in arguments.seeds:
        for n_outputs in arguments.outputs:
            for method in arguments.methods:
                train(arguments, method, n_outputs, seed)


def train(arguments: ImageDensityArguments, method: str, n_outputs: int, seed: int) -> None:
    """Run a training, unless it is finished, and keep the samples of the first seed."""
    form, settings = METHODS[method]
    heads = {name: str(value) for name, value in heads_of(n_outputs)[f"images:{form}"].items()}
    name = f"images/{arguments.preset}/{method}_{n_outputs}"
    folder = train_missing(
        "images", ImagesArguments, ImagesConfig, arguments.training_flags(name, form, seed, heads | settings)
    )
    if folder is not None and seed == arguments.seeds[0]:
        shutil.copy(folder / SAMPLES_FILE, arguments.out / f"samples_{method}_{n_outputs}.png")


if __name__ == "__main__":
    run_command(main)
