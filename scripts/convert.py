"""Convert a training of Trajectory Transformer or AdaCat: ``python scripts/convert.py FOLDER --dataset NAME``."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.checkpoint import checkpoint_name, find_checkpoint, write_checkpoint
from trajectory_adacat.checks import check_can_create
from trajectory_adacat.command_line import CommandParser, dataset_folder, run_command
from trajectory_adacat.conversion.convert import Converted, convert
from trajectory_adacat.conversion.folder import read_folder
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts.train import describe
from trajectory_adacat.settings import to_nested
from trajectory_adacat.training.config import RunConfig


class ConvertArguments(CommandParser):
    """Convert a training folder of Trajectory Transformer or of AdaCat's released code to a checkpoint to plan with."""

    folder: Positional[Path]  # the training folder, with args.json, *_config.pkl and state_*.pt
    dataset: str  # dataset of the training, such as hopper-medium-v2
    dataset_path: str | None = None  # read the dataset from this file in place of the cache
    epoch: str = "latest"  # number of the state_*.pt to convert, or latest
    logbase: str = "logs"  # folder under which the checkpoint is written, as <logbase>/<dataset>/<exp_name>
    exp_name: str | None = None  # name of the experiment; by default gpt/<name of the folder>
    overwrite: bool = False  # replace a checkpoint that is already there

    @property
    def savepath(self) -> Path:
        """``<logbase>/<dataset>/<exp_name>``."""
        name = self.exp_name or f"gpt/{self.folder.resolve().name}"
        return Path(self.logbase, dataset_folder(self.dataset), name)


def write(converted: Converted, state: str, dataset: Dataset, folder: Path) -> None:
    """Write the checkpoint."""
    environment = {"environment": dataset.environment}
    run = RunConfig(seed=converted.seed)
    description = describe(converted.config, run, dataset, environment, None, converted.model.device)
    tensors = {
        "model.safetensors": converted.model.state_dict(),
        "ema.safetensors": converted.average.state_dict(),
        "normalizer.safetensors": converted.normalizer.state_dict(),
    }
    record = {"state": state, "likelihood_gain": converted.gain, "notes": converted.notes}
    form = {"model": to_nested(converted.model.config), "step": converted.step, "converted": record}
    write_checkpoint(folder, tensors, {**form, **description})


def report(converted: Converted, folder: Path, arguments: ConvertArguments) -> None:
    """Print what was converted and how to plan with it."""
    print(f"{converted.config.model.head.name} model of training step {converted.step} -> {folder}")
    for note in converted.notes:
        print(note)
    print(f"the model predicts this dataset {converted.gain:.3f} nats per token better than equal logits do")
    if converted.gain <= 0:
        print("warning: no better than equal logits: check that this is the dataset of the training")
    name = arguments.savepath.relative_to(Path(arguments.logbase, dataset_folder(arguments.dataset)))
    print(f"trajectory-adacat plan --dataset {arguments.dataset} --logbase {arguments.logbase} --gpt_loadpath {name}")


def main(argv: Sequence[str] | None = None) -> None:
    """Convert the folder and leave a checkpoint in ``<logbase>/<dataset>/<exp_name>``."""
    arguments = ConvertArguments().parse(argv)
    check_can_create(arguments.savepath, "--logbase")
    existing = sorted(arguments.savepath.glob("step_*"))
    if existing and not arguments.overwrite:
        raise InputError(
            f"{arguments.savepath} holds checkpoints: replace them with --overwrite, or choose another --exp_name."
        )
    read = read_folder(arguments.folder, arguments.epoch)
    dataset = load_dataset(arguments.dataset, arguments.dataset_path)
    converted = convert(read, dataset)
    for path in existing:
        shutil.rmtree(path)
    write(converted, read.state, dataset, arguments.savepath / checkpoint_name(converted.step))
    report(converted, find_checkpoint(arguments.savepath), arguments)


if __name__ == "__main__":
    run_command(main)
