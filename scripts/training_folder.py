"""The experiment's folder of a training: its checkpoints, and whether a training may go on from them."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import NAME, find_checkpoint, restore_replaced
from trajectory_adacat.errors import CheckpointError, InputError
from trajectory_adacat.scripts.training_arguments import FolderParser
from trajectory_adacat.settings import from_nested, to_flat

HOW_LONG = {"n_steps", "n_epochs_ref"}  # a resumed run may train for longer


def old_checkpoints(arguments: FolderParser) -> list[Path]:
    """Return the checkpoints that are already in the experiment's folder; give back one whose replacement was killed.

    No other process may be using the folder.

    Raises:
        InputError: if there are any and neither --resume nor --overwrite is given.
    """
    if arguments.resume and arguments.overwrite:
        raise InputError("--resume goes on from the checkpoints that --overwrite would delete: give one of them.")
    folder = arguments.savepath
    restore_replaced(folder)
    found = [path for path in folder.glob("step_*") if NAME.fullmatch(path.name)]
    if found and not (arguments.resume or arguments.overwrite):
        raise InputError(
            f"{folder} holds checkpoints: go on from them with --resume, replace them with --overwrite, or choose "
            "another --exp_name."
        )
    return found


def method(kind: type, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's settings by flag, with the dataset and the seed; those it does not have are defaults.

    Args:
        kind: the dataclass of the settings.
        description: the checkpoint's description.

    Raises:
        InputError: if a setting is unknown, missing or of the wrong type.
    """
    settings = dict(description["training"])
    dataset = settings.pop("dataset", None)
    flat = to_flat(from_nested(kind, settings))
    return {"dataset": dataset, "seed": description["train_seed"], **flat}


def check_same_method(
    kind: type,
    checkpoint: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    may_differ: Collection[str] = HOW_LONG,
) -> None:
    """Check that a training may go on from a checkpoint.

    Args:
        kind: the dataclass of the settings.
        checkpoint: its folder.
        before: the checkpoint's description.
        now: the description of the training.
        may_differ: names of settings that are not compared.

    Raises:
        InputError: if the checkpoint was trained on other data or with other settings.
    """
    if before["dataset"]["sha256"] != now["dataset"]["sha256"]:
        raise InputError(f"{checkpoint} was trained on other data (its hash differs): --resume needs the same file.")
    try:
        trained, asked = method(kind, before), method(kind, now)
    except InputError as error:
        raise CheckpointError(f"The settings of {checkpoint} cannot be read: {error}") from error
    for name in {**trained, **asked}:
        if name not in may_differ and trained.get(name) != asked.get(name):
            raise InputError(
                f"{checkpoint} was trained with --{name} {trained.get(name)}, not {asked.get(name)}: --resume goes on "
                "with the same settings. For others choose another --exp_name (for a sweep: --name), or --overwrite."
            )


def check_not_past_end(checkpoint: Path, step: int, n_steps: int) -> None:
    """Check that a checkpoint of ``step`` is not past the end of a training of ``n_steps``.

    Raises:
        InputError: if it is.
    """
    if step > n_steps:
        raise InputError(
            f"{checkpoint} has done {step} steps, more than the {n_steps} of this training: ask for at least as many "
            "steps, or choose another --exp_name (for a sweep: --name), or --overwrite."
        )


def start_folder(arguments: FolderParser, checkpoint: Path | None) -> None:
    """Delete what --overwrite replaces, after all that could be refused has been accepted, and save the flags.

    Raises:
        InputError: if another training has saved checkpoints there since this one looked.
    """
    old = old_checkpoints(arguments)
    if checkpoint is not None and find_checkpoint(arguments.savepath) != checkpoint:
        raise InputError(f"Another training has just saved checkpoints in {arguments.savepath}: start --resume again.")
    for left in arguments.savepath.glob(".step_*"):  # by a killed process
        shutil.rmtree(left)
    if arguments.overwrite:
        for path in old:  # renamed first, so that a killed process leaves no half checkpoint
            shutil.rmtree(path.rename(path.with_name(f".{path.name}.deleted")))
    arguments.save_arguments(arguments.savepath / "arguments.json")
