"""The trainings of density models as jobs of a sweep: when they are done, and what the sweep shows of them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trajectory_adacat.density.checkpoint import KIND
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE
from trajectory_adacat.files import write_atomically
from trajectory_adacat.plotting.density_groups import gather_density
from trajectory_adacat.plotting.density_table import density_table
from trajectory_adacat.plotting.formats import markdown, text
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_audio import AudioArguments
from trajectory_adacat.scripts.density_images import ImagesArguments
from trajectory_adacat.scripts.density_tabular import TabularArguments
from trajectory_adacat.scripts.density_training import DensityParser
from trajectory_adacat.settings import to_nested
from trajectory_adacat.sweep.building import Command
from trajectory_adacat.sweep.estimate import Arguments
from trajectory_adacat.sweep.jobs import Job
from trajectory_adacat.sweep.outputs import is_tested, is_trained
from trajectory_adacat.training.config import BasicRunConfig

PARSERS: dict[str, type[DensityParser]] = {
    parser.section: parser for parser in (TabularArguments, ImagesArguments, AudioArguments)
}
SAMPLES = (".png", ".wav")


class DensityJobs:
    """What a sweep asks of the trainings of an experiment. The data are read once, for their hash."""

    def __init__(self, experiment: str) -> None:
        self._experiment, self._parser = experiment, PARSERS[experiment]
        self._hashes: dict[tuple[Any, ...], str] = {}

    def command(self) -> Command:
        """Return the command that the jobs run."""
        flags = self._parser.new().flags
        return Command(density.__name__, flags, self._resolve, self._is_done, (self._experiment,))

    def _resolve(self, argv: Sequence[str], form: str) -> Arguments:
        """Check the flags of a training and return the value of each."""
        arguments = self._parser.new().parse(argv)
        arguments.settings(self._parser.configs[0])
        arguments.settings(BasicRunConfig)
        return arguments.arguments()

    def _is_done(self, argv: Sequence[str], form: str) -> bool:
        """Return whether a model is trained and tested, and its samples are drawn."""
        arguments = self._parser.new().parse(argv)
        config: Any = arguments.settings(self._parser.configs[0])
        folder, seed, settings = arguments.savepath, arguments.arguments()["seed"], to_nested(config)
        if not is_trained(folder, {**settings, "dataset": arguments.dataset}, seed, None, KIND):
            return False
        if not all((folder / name).exists() for name in arguments.sample_files()):
            return False
        try:
            sha256 = self._sha256(arguments, config)
        except InputError:
            return False
        return is_tested(folder, form, seed, settings, sha256)

    def _sha256(self, arguments: DensityParser, config: Any) -> str:
        key = (arguments.dataset, arguments.arguments()["data"], getattr(config, "data", None))
        if key not in self._hashes:
            self._hashes[key] = arguments.load_data(config).sha256
        return self._hashes[key]


def save_density_table(jobs: Sequence[Job], seed: int, folder: Path) -> str:
    """Write results, table, and the samples of one seed into the sweep's folder; return the table as text.

    Nothing is written, and the text is empty, if there are no results yet.
    """
    folders = [job.folder for job in jobs if job.folder is not None and (job.folder / RESULTS_FILE).exists()]
    if not folders:
        return ""
    table = density_table(gather_density(folders))
    lines = [line for place in folders for line in (place / RESULTS_FILE).read_text(encoding="utf-8").splitlines()]
    write_atomically(folder / RESULTS_FILE, "".join(f"{line}\n" for line in lines))
    write_atomically(folder / "table.md", markdown(table))
    for job in jobs:
        copy_samples(job, f"_{seed}", folder)
    return text(table)


def copy_samples(job: Job, ending: str, folder: Path) -> None:
    """Copy the pictures and sounds of a training whose name has the ending, under the names of dataset and method."""
    _, dataset, name = job.name.split()
    if job.folder is None or not name.endswith(ending):
        return
    for path in sorted(path for path in job.folder.glob("*") if path.suffix in SAMPLES):
        shutil.copy(path, folder / f"{dataset}_{name.removesuffix(ending)}_{path.name}")
