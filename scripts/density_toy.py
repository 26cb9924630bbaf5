"""Make the paper's Figures 1 to 3: ``trajectory-adacat density toy``."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.density import toy
from trajectory_adacat.density.toy_figures import draw
from trajectory_adacat.errors import InputError
from trajectory_adacat.provenance import git_revision, library_versions

DEFAULTS = toy.ToySettings()


class ToyParser(CommandParser):
    """Make the paper's Figures 1 to 3 and write their numbers, settings and command as JSON."""

    figures: tuple[int, ...] = (1, 2, 3)  # figures to make: 1 two spirals, 2 adaptive bins, 3 bin collapse
    output: Path = Path("results/toy")  # folder for figure<n>.json and figure<n>.png
    threads: int = 1  # number of CPU threads
    verbose: bool = True  # show a progress bar
    seeds: tuple[int, ...] = DEFAULTS.seeds  # random seeds, one run per seed
    train_points: int = DEFAULTS.train_points  # size of the training set
    test_points: int = DEFAULTS.test_points  # size of the held-out set
    batch_size: int = DEFAULTS.batch_size  # points per update
    smoothing: float = DEFAULTS.smoothing  # FULL width of the uniform smoothing kernel, the paper's lambda
    smooth_start: float = DEFAULTS.smooth_start  # figure 3: first width of the annealed kernel
    smooth_bins: float = DEFAULTS.smooth_bins  # figure 3: least width of the annealed kernel, in bins
    spiral_bins: int = DEFAULTS.spiral_bins  # figure 1: number of AdaCat's bins
    uniform_bins: tuple[int, ...] = DEFAULTS.uniform_bins  # figure 1: numbers of uniform bins to compare with
    spiral_steps: int = DEFAULTS.spiral_steps  # figure 1: number of updates
    spiral_learning_rate: float = DEFAULTS.spiral_learning_rate  # figure 1: initial learning rate, with cosine decay
    mixture_bins: int = DEFAULTS.mixture_bins  # figure 2: number of bins
    collapse_bins: int = DEFAULTS.collapse_bins  # figure 3: number of bins
    interval_steps: int = DEFAULTS.interval_steps  # figures 2 and 3: number of updates
    interval_learning_rate: float = DEFAULTS.interval_learning_rate  # figures 2 and 3: learning rate


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiments of the requested figures and draw them."""
    argv = sys.argv[1:] if argv is None else argv
    args = ToyParser().parse(argv)
    settings = toy.ToySettings(**{field.name: getattr(args, field.name) for field in fields(toy.ToySettings)})
    unknown = set(args.figures) - set(toy.EXPERIMENTS)
    if unknown:
        known = ", ".join(map(str, toy.EXPERIMENTS))
        raise InputError(f"--figures {min(unknown)} does not exist: choose from {known}.")
    use_threads(args.threads)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.output} cannot be created ({error.strerror}): choose another --output.") from error
    with tqdm(total=toy.total_steps(settings, args.figures), disable=not args.verbose, unit="step") as progress:
        for figure in args.figures:
            progress.set_description(f"figure {figure}, {toy.EXPERIMENTS[figure]}")
            results, images = experiment(figure, settings, progress.update)
            write(args.output / f"figure{figure}.json", results, settings, argv)
            if images:
                np.savez_compressed(args.output / f"figure{figure}.npz", **images)  # type: ignore[arg-type]
            progress.write(f"wrote {draw(figure, args.output)}")


def experiment(
    figure: int, settings: toy.ToySettings, progress: Callable[[], object]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the numbers and the images of one figure."""
    if figure == 1:
        return toy.spirals(settings, progress)
    return {2: toy.mixture, 3: toy.collapse}[figure](settings, progress), {}


def write(path: Path, results: dict[str, Any], settings: toy.ToySettings, argv: Sequence[str]) -> None:
    """Write the results as JSON, with their command, settings, library versions and Git revision."""
    document = {
        "command": shlex.join(["python", "scripts/density.py", "toy", *argv]),
        "settings": asdict(settings),
        "results": results,
        "versions": library_versions(),
        "revision": git_revision(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
