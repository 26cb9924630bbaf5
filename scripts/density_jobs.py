"""The trainings of density models as jobs of a sweep: when they are done, and what the sweep shows of them."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trajectory_adacat.command_line import dataset_folder
from trajectory_adacat.density.checkpoint import KIND
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult
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
from trajectory_adacat.sweep.outputs import DensityTraining, is_trained
from trajectory_adacat.training.config import BasicRunConfig

PARSERS: dict[str, type[DensityParser]] = {
    parser.section: parser for parser in (TabularArguments, ImagesArguments, AudioArguments)
}


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
        folder, seed = arguments.savepath, arguments.arguments()["seed"]
        settings = to_nested(arguments.settings(self._parser.configs[0]))
        if not is_trained(folder, {**settings, "dataset": arguments.dataset}, seed, None, KIND):
            return False
        are_drawn = all((folder / name).exists() for name in arguments.sample_files())
        return are_drawn and self._result(arguments) is not None

    def save_table(self, jobs: Sequence[Job], seed: int, folder: Path) -> str:
        """Write results, table, and the samples of one seed into the sweep's folder; return the table as text.

        Only results of the jobs' settings are among them. Nothing is written, and the text is empty, if there are none.
        """
        lines = []
        for job in jobs:
            arguments = self._parser.new().parse(job.command[3:])  # after -m, the module and the experiment
            if (result := self._result(arguments)) is not None:
                lines.append(json.dumps(asdict(result)))
                copy_samples(arguments, seed, folder)
        if not lines:
            return ""
        write_atomically(folder / RESULTS_FILE, "".join(f"{line}\n" for line in lines))
        table = density_table(gather_density([folder / RESULTS_FILE]))
        write_atomically(folder / "table.md", markdown(table))
        return text(table)

    def _result(self, arguments: DensityParser) -> DensityResult | None:
        """Return the result of a training; None if there is none. The data are read only if there may be one."""
        if not (arguments.savepath / RESULTS_FILE).exists():
            return None
        config: Any = arguments.settings(self._parser.configs[0])
        training = DensityTraining(
            dataset=arguments.dataset,
            form=config.model.form.name,
            seed=arguments.arguments()["seed"],
            settings=to_nested(config),
            sampling=arguments.sampling(),
            sha256=self._sha256(arguments, config),
        )
        return training.result(arguments.savepath)

    def _sha256(self, arguments: DensityParser, config: Any) -> str | None:
        """Return the hash of the data; None if they cannot be read, as after a sweep whose data were removed."""
        key = (arguments.dataset, arguments.arguments()["data"], getattr(config, "data", None))
        if key not in self._hashes:
            try:
                self._hashes[key] = arguments.load_data(config).sha256
            except InputError:
                return None
        return self._hashes[key]


def copy_samples(arguments: DensityParser, seed: int, folder: Path) -> None:
    """Copy the pictures and sounds of a training of this seed, under the names of dataset and method."""
    name, ending = arguments.savepath.name, f"_{seed}"
    if arguments.arguments()["seed"] != seed:
        return
    start = f"{dataset_folder(arguments.dataset)}_{name.removesuffix(ending)}"
    for path in arguments.savepath.iterdir():
        if path.name in arguments.sample_files():
            shutil.copy(path, folder / f"{start}_{path.name}")
