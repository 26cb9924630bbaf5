"""Train a density model of MNIST's images and draw samples: ``trajectory-adacat density images``."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from tap import TapIgnore

from trajectory_adacat.command_line import run_command
from trajectory_adacat.density.image_data import load_mnist
from trajectory_adacat.density.images import ImagesConfig, ImagesObjective, sample_pixels
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.trainer import DensityTrainer
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts.density_training import DensityParser, train_density
from trajectory_adacat.training.config import BasicRunConfig

SAMPLES_FILE = "samples.png"


class ImagesArguments(DensityParser):
    """Train a GPT over the pixels of MNIST's images (the paper's Section 4.2), test it and draw samples."""

    section: TapIgnore[str] = "images"
    configs: TapIgnore[tuple[type, ...]] = (ImagesConfig, BasicRunConfig)

    dataset: str = "mnist"  # name of the images: mnist (make mnist)
    exp_name: str = "images/{form}_{seed}"  # experiment name; {flag} stands for another flag's value
    data: Path = Path("data/mnist")  # folder of the images
    n_samples: int = 64  # number of samples in samples.png; 0: none

    def parse(self, argv: Sequence[str] | None = None) -> Self:
        """Read and check the flags.

        Raises:
            InputError: also for other images, a negative number of samples, or a flag without effect.
        """
        super().parse(argv)
        if self.dataset != "mnist":
            raise InputError(f"There are no images {self.dataset!r}: only mnist.")
        if self.n_samples < 0:
            raise InputError(f"--n_samples must not be negative, got {self.n_samples}.")
        refuse_flags_without_effect(self.given)
        return self

    def load_data(self, config: ImagesConfig) -> Splits:
        """Read the images."""
        return load_mnist(self.data, config.data.shrink, config.data.n_validation, config.data.n_test)

    def sample_files(self) -> tuple[str, ...]:
        """Return the name of the picture, if one is drawn."""
        return (SAMPLES_FILE,) if self.n_samples else ()

    def sampling(self) -> dict[str, Any]:
        """Return the number of samples."""
        return {"n_samples": self.n_samples}


def main(argv: Sequence[str] | None = None) -> None:
    """Train, draw samples, test and write the result."""
    arguments = ImagesArguments().parse(argv)
    shape: list[int] = []

    def make_objective(config: ImagesConfig, device: torch.device) -> tuple[ImagesObjective, dict[str, Any]]:
        data = arguments.load_data(config)
        shape.extend(data.test.shape[1:])
        images = [len(data.training), len(data.validation), len(data.test)]
        return ImagesObjective(config.model, data, device), {"sha256": data.sha256, "images": images, "size": shape}

    def finish(trainer: DensityTrainer) -> dict[str, float]:
        if arguments.n_samples:
            draw_samples(arguments, trainer, shape)
        return {}

    train_density(arguments, argv, ImagesConfig, make_objective, finish)


def draw_samples(arguments: ImagesArguments, trainer: DensityTrainer, shape: Sequence[int]) -> None:
    """Draw images of a shape from the best weights, the same for the same seed."""
    model: Any = trainer.best_model()
    torch.manual_seed(trainer.run.seed)
    pixels = sample_pixels(model, arguments.n_samples).cpu().numpy()
    save_grid(arguments.savepath / SAMPLES_FILE, pixels.reshape(-1, *shape))
    if arguments.verbose:
        print(arguments.savepath / SAMPLES_FILE)


def refuse_flags_without_effect(given: Collection[str]) -> None:
    """Check the flags on the command line.

    Raises:
        InputError: for a flag of a head that image models do not use.
    """
    if smoothing := [f"--{name}" for name in given if name.startswith("smooth_")]:
        raise InputError(
            f"{' and '.join(smoothing)}: no effect on images, as their loss is the mass of an interval. Leave "
            "smoothing out; --interval_start begins with a wider interval."
        )
    if inputs := [f"--{name}" for name in ("embedding", "standardize") if name in given]:
        raise InputError(
            f"{' and '.join(inputs)}: no effect on images, as each grey level has an embedding of its own: "
            "leave that out."
        )


def save_grid(path: Path, images: np.ndarray) -> None:
    """Write ``images [n, h, w]`` side by side, in rows of about the square root of their number."""
    from matplotlib.image import imsave  # slow to import

    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    blank = np.zeros((rows * columns - len(images), *images.shape[1:]), images.dtype)
    padded = np.pad(np.concatenate((images, blank)), ((0, 0), (1, 1), (1, 1)), constant_values=96)
    grid = padded.reshape(rows, columns, *padded.shape[1:]).swapaxes(1, 2).reshape(rows * padded.shape[1], -1)
    imsave(path, grid, cmap="gray", vmin=0, vmax=255)


if __name__ == "__main__":
    run_command(main)
