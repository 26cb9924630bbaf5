"""Write a trained model and its critic as a small folder: ``python scripts/export.py --model FOLDER --out FOLDER``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import DESCRIPTION, find_checkpoint, read_training
from trajectory_adacat.checks import check_can_create
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.critic.config import CriticConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.pretrained.export import export
from trajectory_adacat.pretrained.folder import CRITIC, MODEL
from trajectory_adacat.scripts.critic import CriticArguments
from trajectory_adacat.scripts.train import TrainArguments
from trajectory_adacat.scripts.training_arguments import TrainingParser
from trajectory_adacat.scripts.training_folder import method
from trajectory_adacat.settings import settings_of, to_flat
from trajectory_adacat.training.config import TrainConfig


class ExportArguments(CommandParser):
    """Write a trained model, and its critic if named, in half precision and with a card, for `plan --pretrained`."""

    model: Path  # the trained model: a folder that train wrote, or one checkpoint in it
    out: Path  # folder to write; its name becomes the model's
    critic: Path | None = None  # the critic: a folder that critic wrote, or one checkpoint in it
    rollouts: list[Path] = []  # results of the model and of trainings with other seeds, for the returns on the card
    overwrite: bool = False  # replace the folder


def training_command(
    command: str, parser: type[TrainingParser], kind: type, folder: Path, description: Mapping[str, Any]
) -> str:
    """Return the command line that trains a checkpoint's settings with today's presets.

    Args:
        command: name of the command.
        parser: its flags.
        kind: the dataclass of its settings.
        folder: of the checkpoint.
        description: the checkpoint's.

    Raises:
        InputError: if the settings cannot be read.
    """
    try:
        settings = method(kind, description)
    except InputError as error:
        raise InputError(f"The settings of {folder} cannot be read: {error}") from error
    named = {"dataset": settings.pop("dataset"), "seed": settings.pop("seed")}
    form = settings_of(kind).get("parameterization")
    if form is not None and settings["parameterization"] != form.default:
        named["parameterization"] = settings["parameterization"]
    usual = to_flat(parser().parse(_flags(named)).settings(kind))
    changed = {name: value for name, value in settings.items() if name not in usual or usual[name] != value}
    return " ".join(["trajectory-adacat", command, *_flags(named | changed)])


def _flags(values: Mapping[str, Any]) -> list[str]:
    return [text for name, value in values.items() for text in (f"--{name}", "none" if value is None else str(value))]


def check_can_replace(folder: Path, overwrite: bool) -> None:
    """Check that a folder does not exist, or that this command wrote it and may replace it.

    Raises:
        InputError: if it may not.
    """
    if folder.exists() and not (folder / MODEL / DESCRIPTION).exists():
        raise InputError(f"{folder} exists and is no folder of a pretrained model: choose another --out.")
    if folder.exists() and not overwrite:
        raise InputError(f"{folder} exists: replace it with --overwrite, or choose another --out.")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder.

    Raises:
        InputError: for bad input; nothing is written.
    """
    arguments = ExportArguments().parse(argv)
    check_can_replace(arguments.out, arguments.overwrite)
    check_can_create(arguments.out, "--out")
    model = find_checkpoint(arguments.model, flag="--model")
    commands = {MODEL: training_command("train", TrainArguments, TrainConfig, model, read_training(model))}
    critic = None
    if arguments.critic is not None:
        critic = find_checkpoint(arguments.critic, flag="--critic")
        commands[CRITIC] = training_command("critic", CriticArguments, CriticConfig, critic, read_critic(critic))
    written = export(model, critic, arguments.rollouts, arguments.out, commands, arguments.overwrite)
    size = sum(path.stat().st_size for path in written.folder.rglob("*") if path.is_file())
    print(f"{size / 1e6:.2f} MB -> {written.folder}; its card is {written.card}")


if __name__ == "__main__":
    run_command(main)
