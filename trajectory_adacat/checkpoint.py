"""Checkpoints: folders of safetensors and JSON, written atomically. They suffice to plan without the dataset.

Nothing in a folder is believed unchecked: docs/reliability.md says what is checked, SECURITY.md against what.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trajectory_adacat.checks import fits, type_name
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import CheckpointError, InputError
from trajectory_adacat.files import parse_json, read_text, synchronize
from trajectory_adacat.legacy import MODEL_ADDED_LATER, nested_model, nested_training
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.provenance import git_revision, library_versions
from trajectory_adacat.settings import from_nested, to_nested

FORMAT = 2
FLAT_FORMAT = 1  # its settings are one flat list of flags
MODEL = "model"  # the kind of a description that names none
COMMAND_OF = {
    MODEL: "train",
    "critic": "critic",
    "density": "density",
}  # the command that writes each kind of checkpoint
DESCRIPTION = "checkpoint.json"
WEIGHTS, AVERAGE, NORMALIZER = "model.safetensors", "ema.safetensors", "normalizer.safetensors"
DIGEST = "sha256"  # key of the SHA-256 of all other entries of the description
WRITTEN_ANEW = {"versions", "git_revision", "files", "format", DIGEST}  # by `write_checkpoint`
LARGEST_DESCRIPTION = 1 << 24  # bytes
DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool}
LARGEST_BLOCK = 1 << 14  # tokens; a model's mask has a byte for each pair of them
EXPORTED = "trained_with"  # key of the description that exports alone have
REPLACED = ".replaced"  # ends the name of a checkpoint while it is replaced
NAME = re.compile(r"step_(\d+)")
# What plan and --resume read of what the train command adds to a checkpoint, and the keys of its "dataset".
TRAINED: dict[str, Any] = {
    "parameterization": str,
    "discount": float,
    "train_seed": int,
    "step": int,
    "dataset": dict[str, Any],
    "training": dict[str, Any],
}
TRAINED_ON = {"name", "sha256", "verified", "environment", "mean_return"}
DATASET_TYPES: dict[str, Any] = {
    "name": str,
    "label": str,
    "sha256": str,
    "verified": bool,
    "environment": str | None,
    "mean_return": float,
    "env_kwargs": dict[str, Any],
    "environment_specification": str,
    "reference_returns": list[float],
}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model, with what planning needs from its training.

    Attributes:
        model: in evaluation mode.
        normalizer: of the training data.
        description: contents of ``checkpoint.json``: configs, dataset, seed, step, versions, hashes of the files.
        hash: SHA-256 of the description file, which contains the hashes of all weights.
    """

    model: GPT
    normalizer: MinMaxNormalizer
    description: dict[str, Any]
    hash: str


def checkpoint_name(step: int) -> str:
    """Return the folder's name for a training step."""
    return f"step_{step:08d}"


def save_checkpoint(
    folder: Path,
    model: GPT,
    ema: GPT,
    normalizer: MinMaxNormalizer,
    training: Mapping[str, Tensor],
    description: Mapping[str, Any],
    replaces: bool = False,
) -> None:
    """Write a checkpoint folder atomically.

    Args:
        folder: must not exist unless ``replaces``.
        model: the weights.
        ema: the moving average of the weights.
        normalizer: of the training data.
        training: the rest of the training's state, for resuming.
        description: further entries of `Checkpoint.description`.
        replaces: see `write_checkpoint`.
    """
    tensors: dict[str, Mapping[str, Tensor]] = {
        WEIGHTS: model.state_dict(),
        AVERAGE: ema.state_dict(),
        NORMALIZER: normalizer.state_dict(),
        "training.safetensors": training,
    }
    write_checkpoint(folder, tensors, {"model": to_nested(model.config), **description}, replaces)


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    description: Mapping[str, Any],
    replaces: bool = False,
) -> None:
    """Write a checkpoint folder of any kind atomically.

    Args:
        folder: must not exist unless ``replaces``.
        tensors: the tensors of each file, by the file's name.
        description: what ``checkpoint.json`` says besides the format, the versions and the files' hashes.
        replaces: delete the old checkpoint of this name. After a kill between the two renames, `restore_replaced` gives
            it back.

    Raises:
        CheckpointError: if it cannot be written, for example because the disk is full; nothing is left.
    """
    try:
        _write(folder, tensors, description, replaces)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint {folder} could not be written ({error}): make room, or choose another --logbase. Earlier "
            "checkpoints are kept; --resume goes on from the latest."
        ) from error


def _write(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any], replaces: bool
) -> None:
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    temporary.mkdir(parents=True)
    try:
        for name, state in tensors.items():
            save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, temporary / name)
        whole = {
            "format": FORMAT,
            **description,
            "versions": library_versions(),
            "git_revision": git_revision(),
            "files": {name: file_sha256(temporary / name) for name in tensors},
        }
        text = json.dumps({**whole, DIGEST: _digest(whole)}, indent=2) + "\n"
        (temporary / DESCRIPTION).write_text(text, encoding="utf-8")
        synchronize(temporary)
        _put_in_place(temporary, folder, replaces)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _put_in_place(temporary: Path, folder: Path, replaces: bool) -> None:
    old = folder.with_name(f".{folder.name}{REPLACED}")
    if replaces:
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if replaces:
            old.rename(folder)
        raise
    if replaces:
        shutil.rmtree(old, ignore_errors=True)  # `restore_replaced` deletes what is left


def restore_replaced(folder: Path) -> None:
    """Give back the checkpoints of an experiment's folder that a process was replacing when it was killed."""
    for old in folder.glob(f".step_*{REPLACED}"):
        checkpoint = old.with_name(old.name.removeprefix(".").removesuffix(REPLACED))
        if checkpoint.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):  # another rank of the training was faster
                old.rename(checkpoint)


def _digest(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a description's entries as it is read from JSON."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def export_average(checkpoint: Path, folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a copy of a checkpoint that can only plan with ``use_ema``, at a fifth of the size.

    It holds the moving average of the weights in half precision and the normalizer. Loading converts it to float32.

    Args:
        checkpoint: folder of a model's checkpoint; it may be such a copy itself.
        folder: must not exist.
        facts: further entries of the description.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
    """
    loaded = load_model(checkpoint, use_ema=True)
    tensors = {AVERAGE: halved(loaded.model), NORMALIZER: loaded.normalizer.state_dict()}
    write_export(folder, tensors, loaded.description, facts or {})


def halved(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state with its weights in half precision.

    Buffers keep theirs: half-precision standardization cost up to 0.04 nats per dimension, the weights at most 0.0003.
    """
    weights = {name for name, _ in module.named_parameters()}
    return {name: tensor.half() if name in weights else tensor for name, tensor in module.state_dict().items()}


def write_export(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write what inference needs of a checkpoint.

    Args:
        folder: must not exist.
        tensors: the tensors of each file, by the file's name.
        description: of the whole checkpoint, whose versions and revision are kept as ``trained_with``.
        facts: further entries of the new description.
    """
    trained_with = {key: description.get(key) for key in ("versions", "git_revision")}
    trained_with = description.get(EXPORTED, trained_with)  # of the training, where the checkpoint is an export itself
    kept = {key: value for key, value in description.items() if key not in WRITTEN_ANEW}
    write_checkpoint(folder, tensors, {**kept, **facts, EXPORTED: trained_with})


def find_checkpoint(folder: Path, step: str | int = "latest", flag: str = "--gpt_loadpath") -> Path:
    """Return the checkpoint folder of a training step in an experiment's folder, or ``folder`` if it is a checkpoint.

    Args:
        folder: the folder.
        step: the training step.
        flag: what an error tells the user to change.

    Raises:
        CheckpointError: if there is none.
    """
    try:
        is_checkpoint = (folder / DESCRIPTION).exists()
        names = list(folder.glob("step_*"))
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be searched for checkpoints ({error}).") from error
    if is_checkpoint:
        if step != "latest" and folder.name != checkpoint_name(int(step) if str(step).isdecimal() else -1):
            raise CheckpointError(
                f"{folder} is a checkpoint itself, and not that of step {step!r}: name its parent folder."
            )
        return folder
    found = {int(match[1]): path for path in names if (match := NAME.fullmatch(path.name))}
    if not found:
        raise CheckpointError(
            f"There is no checkpoint in {folder}: train first (without --resume), or name another {flag}."
        )
    if step == "latest":
        return found[max(found)]
    if not str(step).isdecimal() or int(step) not in found:
        raise CheckpointError(
            f"There is no checkpoint of step {step!r} in {folder}, only of {sorted(found)} and 'latest'."
        )
    return found[int(step)]


def read_description(folder: Path, kind: str = MODEL) -> dict[str, Any]:
    """Read a checkpoint's JSON; convert format 1 to today's.

    Raises:
        CheckpointError: if it is missing, damaged, of another format or of another kind, such as a critic's for a
            model's.
    """
    path, description = folder / DESCRIPTION, read_any_description(folder)
    found, written = description["format"], description.get("kind", MODEL)
    if written != kind:
        raise CheckpointError(
            f"The checkpoint {folder} is that of a {written}, not of a {kind}: name one that trajectory-adacat "
            f"{COMMAND_OF[kind]} wrote."
        )
    if found == FLAT_FORMAT:
        return _upgraded(description, path)
    if found != FORMAT:
        raise CheckpointError(
            f"The checkpoint {folder} is of format {found}; this version reads formats up to {FORMAT}."
        )
    return _completed(description) if kind == MODEL else description


def read_any_description(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON of any kind and format.

    Raises:
        CheckpointError: if it is missing or damaged, or lacks its format or the hashes of its files.
    """
    path = folder / DESCRIPTION
    try:
        description = parse_json(read_text(path, LARGEST_DESCRIPTION))
        _ = description["format"], description["files"].items()
        digest = description.pop(DIGEST, None)  # earlier versions wrote none
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    if digest is not None and digest != _digest(description):
        raise CheckpointError(
            f"The checkpoint's {path} is damaged (its {DIGEST!r} is not that of its contents): restore it. After a "
            "change by hand, remove that key."
        )
    return description


def read_training(folder: Path) -> dict[str, Any]:
    """Read the JSON of a checkpoint of the train command; see `read_description`.

    Raises:
        CheckpointError: as `read_description`, or if what that command writes is missing.
    """
    description = read_description(folder)
    check_trained(folder, description, TRAINED, TRAINED_ON)
    return description


def check_trained(folder: Path, description: Mapping[str, Any], keys: Mapping[str, Any], of_dataset: set[str]) -> None:
    """Check that a description has the ``keys``, each of its type, and the keys of its "dataset", each of its type.

    Raises:
        CheckpointError: naming the first that is missing.
    """
    for key, annotation in keys.items():
        if not fits(description.get(key), annotation):
            raise CheckpointError(f"The checkpoint {folder} lacks its {key!r}: train it with trajectory-adacat.")
    dataset = description["dataset"]
    missing = of_dataset - dataset.keys()
    if missing:
        raise CheckpointError(f"The checkpoint {folder} lacks {min(missing)!r} of its dataset: train it again.")
    for key, value in dataset.items():
        if not fits(value, DATASET_TYPES.get(key, Any)):
            expected = type_name(DATASET_TYPES[key])
            raise CheckpointError(f"The checkpoint {folder} has {key!r}: {value!r} of its dataset, not of {expected}.")


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"The checkpoint's {path} cannot be read ({error!r}): train again or restore it.")


def _completed(description: dict[str, Any]) -> dict[str, Any]:
    """Add the settings of the model that did not exist when the checkpoint was written."""
    for holder, key in ((description, "model"), (description.get("training"), "model")):
        if isinstance(holder, dict) and isinstance(holder.get(key), dict):
            holder[key] = {**MODEL_ADDED_LATER, **holder[key]}
    return description


def _upgraded(description: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        changed = {"model": nested_model(description["model"])}
        if "training" in description:  # only checkpoints of the train command have it
            changed["training"] = nested_training(description["training"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable(path, error) from error
    return {**description, **changed}


def read_tensors(folder: Path, name: str, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read one file of a checkpoint and check its hash.

    Raises:
        CheckpointError: if it is missing, its hash differs, or a number in it is not finite.
    """
    path = folder / name
    try:
        if file_sha256(path) != description["files"][name]:
            raise CheckpointError(f"The checkpoint's file {path} is damaged (its hash is not the one written with it).")
        tensors = load_file(path)
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint's file {path} cannot be read ({error!r}).") from error
    for key, tensor in tensors.items():
        if tensor.dtype not in DTYPES or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"The checkpoint's file {path} holds {key!r}, which is not all finite numbers.")
    return tensors


def load_into(make: Callable[[], Network], n_layers: int, weights: Mapping[str, Tensor]) -> Network:
    """Make a network and load its weights; compare the shapes before memory is taken for it.

    Args:
        make: makes the network.
        n_layers: number of its layers, each of which has a tensor among the weights.
        weights: by name.

    Raises:
        ValueError: if the network has more layers than there are tensors, or sizes that torch refuses.
        RuntimeError: if names or shapes differ.
    """
    if n_layers > len(weights):
        raise ValueError(f"it has {n_layers} layers, and {len(weights)} tensors are stored")
    try:
        with torch.device("meta"):
            outline = make()
    except (TypeError, OverflowError) as error:
        raise ValueError(f"its sizes are too large ({' '.join(str(error).split())[:200]})") from error
    outline.load_state_dict(dict(weights), assign=True)
    network = make()
    network.load_state_dict(dict(weights))
    return network


def read_normalizer(folder: Path, description: Mapping[str, Any], dimension: int) -> MinMaxNormalizer:
    """Read the normalizer of a model's checkpoint.

    Args:
        folder: of the checkpoint.
        description: of the checkpoint.
        dimension: of a transition.

    Raises:
        CheckpointError: if it is missing or damaged, or its bounds are not finite numbers for each dimension.
    """
    state = read_tensors(folder, NORMALIZER, description)
    return make_normalizer(folder, state.get("low"), state.get("high"), dimension)


def make_normalizer(folder: Path, low: Tensor | None, high: Tensor | None, dimension: int) -> MinMaxNormalizer:
    """Make a normalizer of the bounds that a checkpoint holds.

    Raises:
        CheckpointError: as `read_normalizer`.
    """
    if low is None or high is None or not low.shape == high.shape == (dimension,) or not bool((low <= high).all()):
        raise CheckpointError(f"The checkpoint {folder} has no normalizer with bounds low <= high of each dimension.")
    return MinMaxNormalizer(low, high)


def load_model(path: str | Path, use_ema: bool = False, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint folder, or the latest one of an experiment's folder.

    Args:
        path: the folder.
        use_ema: take the moving average of the weights.
        device: where to put the model.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged or of another format, or holds the moving average alone.
    """
    folder = find_checkpoint(Path(path))
    description = read_description(folder)
    if EXPORTED in description and not use_ema:
        raise CheckpointError(f"{folder} holds only the moving average of the weights: pass --use_ema true.")
    weights = read_tensors(folder, AVERAGE if use_ema else WEIGHTS, description)
    try:
        config = from_nested(GPTConfig, description.get("model"))
        if config.block_size > LARGEST_BLOCK:
            raise InputError(f"a block of {config.block_size} tokens is more than {LARGEST_BLOCK}.")
        model = load_into(lambda: GPT(config), config.n_layer, weights)
    except (ValueError, RuntimeError) as error:  # an InputError is a ValueError
        raise CheckpointError(f"The checkpoint {folder} does not fit this version's model: {error}") from error
    normalizer = read_normalizer(folder, description, config.spec.dimension)
    return Checkpoint(model.to(device).eval(), normalizer, description, file_sha256(folder / DESCRIPTION))
