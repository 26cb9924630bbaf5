"""What all trainings of density models share: flags, checkpoints, resumption, the test and its record."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tap import TapIgnore

from trajectory_adacat.checks import check_can_create
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.density.forms import AUDIO_FORMS
from trajectory_adacat.density.objective import DensityObjective
from trajectory_adacat.density.trainer import DensityTrainer
from trajectory_adacat.evaluation.density_results import DensityResult
from trajectory_adacat.provenance import git_revision, library_versions, processor
from trajectory_adacat.scripts.training_arguments import FolderParser, import_logging
from trajectory_adacat.scripts.training_folder import check_same_method, old_checkpoints, start_folder
from trajectory_adacat.settings import to_nested
from trajectory_adacat.training.config import BasicRunConfig
from trajectory_adacat.training.interruption import Interruption, telling_how_to_resume
from trajectory_adacat.training.lock import locked, refuse_if_locked

MakeObjective = Callable[[Any, torch.device], tuple[DensityObjective, dict[str, Any]]]
Finish = Callable[[DensityTrainer], dict[str, float]]


class DensityParser(FolderParser):
    """The flags of every training of a density model."""

    parameterizations: TapIgnore[tuple[str, ...]] = tuple(AUDIO_FORMS)  # all experiments share a configuration
    parameterization_flag: TapIgnore[str] = "form"

    config: str = "config.density"  # configuration: a module or the path of a .py file
    logbase: str = "logs/density"  # folder under which everything is written, as <logbase>/<dataset>/<exp_name>
    out: Path | None = None  # folder of density.jsonl, which gets the result; by default the experiment's

    def load_data(self, config: Any) -> Any:
        """Read the data, with the attribute ``sha256``; ``config`` has the settings of the experiment.

        Raises:
            InputError: if a file is missing or damaged, or the settings do not fit it.
        """
        raise NotImplementedError

    def sample_files(self) -> tuple[str, ...]:
        """Return the names of the files with samples that the training leaves in the experiment's folder."""
        return ()

    def sampling(self) -> dict[str, Any]:
        """Return the settings of the samples, by flag."""
        return {}


def train_density(
    arguments: DensityParser,
    argv: Sequence[str] | None,
    kind: type,
    make_objective: MakeObjective,
    finish: Finish = lambda trainer: {},
) -> None:
    """Train a model or go on with its training, draw its samples, test it, and write the result.

    The result comes last: where it is, the samples are.

    Args:
        arguments: the flags. Their section names the experiment.
        argv: the command line after the experiment's name; None for that of the process.
        kind: dataclass of the settings, with the attributes ``model.form`` and ``trainer``.
        make_objective: called with the settings and the device; returns the model with its data, and what the
            checkpoints say of the data: at least ``sha256``. The default random state is that of the seed.
        finish: called after the training; draws samples and returns further numbers for the result.

    Raises:
        InputError: for bad settings or data, or a folder that is in use or cannot be written.
        Interrupted: after SIGINT and SIGTERM; the message says how to go on.
    """
    config, run = arguments.settings(kind), arguments.settings(BasicRunConfig)
    import_logging(run)
    use_threads(arguments.threads)
    device = use_device(arguments.device)
    check_can_create(arguments.savepath, "--logbase")
    refuse_if_locked(arguments.savepath)
    old_checkpoints(arguments)
    checkpoint = read_density(arguments.savepath) if arguments.resume else None
    torch.manual_seed(run.seed)
    objective, data = make_objective(config, device)
    description = {
        "experiment": arguments.section,
        "train_seed": run.seed,
        "processor": processor(device),
        "dataset": {"name": arguments.dataset, **data},
        "training": {**to_nested(config), "dataset": arguments.dataset},
    }
    trainer = DensityTrainer(objective, config.trainer, run, arguments.savepath, description, arguments.verbose)
    if checkpoint is not None:
        check_same_method(kind, *checkpoint, description, may_differ=())  # the schedule depends on the steps
        trainer.resume()
    command_line = [arguments.section, *(sys.argv[1:] if argv is None else argv)]
    with telling_how_to_resume("density", command_line), locked(arguments.savepath):
        start_folder(arguments, None if checkpoint is None else checkpoint[0])
        if arguments.verbose:
            print(f"{arguments.dataset}: {config.model.form.name}, {n_parameters(objective):,} parameters", end="")
            print(f", {objective.n_examples} training examples -> {arguments.savepath}")
        trainer.train()
        with Interruption("the training is saved, and not tested yet."):
            result = result_of(trainer, arguments, config, finish(trainer))
            path = result.save(arguments.out or arguments.savepath)
    if arguments.verbose:
        print(f"test: {result.nll:.4f} {result.unit} -> {path}")


def n_parameters(objective: DensityObjective) -> int:
    """Return the number of the model's parameters."""
    return sum(parameter.numel() for parameter in objective.model.parameters())


def result_of(
    trainer: DensityTrainer, arguments: DensityParser, config: Any, measures: dict[str, float]
) -> DensityResult:
    """Evaluate the test split and return the record of the training."""
    head: Any = trainer.model.head
    return DensityResult(
        experiment=arguments.section,
        dataset=arguments.dataset,
        form=config.model.form.name,
        seed=trainer.run.seed,
        nll=trainer.test(),
        validation_nll=trainer.best_nll,
        unit=trainer.objective.unit,
        n_parameters=n_parameters(trainer.objective),
        n_outputs=head.weight.shape[-1],
        n_steps=trainer.n_steps,
        seconds=trainer.seconds,
        settings=to_nested(config),
        data=trainer.description["dataset"],
        versions={**library_versions(), "processor": trainer.description["processor"]},
        git_revision=git_revision(),
        measures=measures,
        sampling=arguments.sampling(),
    )
