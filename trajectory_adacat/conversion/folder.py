"""Read a training folder of Trajectory Transformer or of AdaCat's released code without running any of its code."""

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trajectory_adacat.errors import InputError

CONFIG = ("trajectory.utils.config", "Config")
# The classes whose configurations the pickles hold.
CONFIGURED = {
    ("trajectory.datasets.sequence", "DiscretizedDataset"),
    ("trajectory.datasets.sequence", "ContinuousDataset"),
    ("trajectory.models.transformers", "GPT"),
    ("trajectory.utils.training", "Trainer"),
}
STATE = re.compile(r"state_(\d+)\.pt")
MASK = ".attn.mask"  # ends the names of the buffers that are not trained


@dataclass(frozen=True)
class TrainingFolder:
    """The contents of a training folder.

    Attributes:
        path: the folder.
        data, model, trainer: keyword arguments of the pickled configurations.
        arguments: plain values of ``args.json``.
        state: name of the file of weights.
        epoch: the number in that name.
        weights: raw weights by their names.
        average: averaged weights by the same names, or None where the training kept none.
        ema_decay: decay of the average, 0 without one.
    """

    path: Path
    data: dict[str, Any]
    model: dict[str, Any]
    trainer: dict[str, Any]
    arguments: dict[str, Any]
    state: str
    epoch: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor] | None
    ema_decay: float


def read_folder(path: Path, epoch: str = "latest") -> TrainingFolder:
    """Read a training folder.

    Args:
        path: the folder.
        epoch: number in the name of the file of weights, or latest.

    Raises:
        InputError: if a file is missing, damaged, or not one that the two codebases write.
    """
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.")
    state, number = _find_state(path, epoch)
    weights, average, decay = _read_state(state)
    return TrainingFolder(
        path=path,
        data=read_config(path / "data_config.pkl"),
        model=read_config(path / "model_config.pkl"),
        trainer=read_config(path / "trainer_config.pkl"),
        arguments=_read_arguments(path / "args.json"),
        state=state.name,
        epoch=number,
        weights=weights,
        average=average,
        ema_decay=decay,
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return the keyword arguments that a pickled configuration holds; admit its two classes and plain values alone.

    Raises:
        InputError: if the file is missing or damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            config = _PlainUnpickler(file).load()
        found = dict(vars(config)["_dict"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle raises almost any exception
        raise InputError(f"{path} cannot be read as a configuration ({error!r}).") from error
    unknown = sorted(name for name, value in found.items() if not _is_plain(value))
    if unknown:
        raise InputError(f"{path} holds more than plain values: {', '.join(map(str, unknown))}.")
    return found


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != CONFIG and (module, name) not in CONFIGURED:
            raise InputError(f"the pickle names {module}.{name}, which no training folder needs: it was not opened.")
        return type(name, (), {})  # an empty class of its own, which no other file shares


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def _read_arguments(path: Path) -> dict[str, Any]:
    """Read the flags. Objects are left out: those that hold base64 pickles, and what made the training."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in found.items() if not isinstance(value, dict)}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}).") from error


def _find_state(path: Path, epoch: str) -> tuple[Path, int]:
    found = {int(match[1]): file for file in path.iterdir() if (match := STATE.fullmatch(file.name))}
    if not found:
        raise InputError(f"There are no weights (state_*.pt) in {path}.")
    if epoch == "latest":
        number = max(found)
    elif epoch.isdecimal() and int(epoch) in found:
        number = int(epoch)
    else:
        raise InputError(f"There is no epoch {epoch!r} in {path}, only {sorted(found)} and 'latest'.")
    return found[number], number


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, float]:
    """Return the raw weights, the average and its decay.

    Raises:
        InputError: if the file is damaged or holds something else.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(f"{path} cannot be read as weights ({type(error).__name__}: {error}).") from error
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path} holds no weights.")
    if "model" not in loaded:
        return _named_tensors(path, loaded), None, 0.0
    weights = _named_tensors(path, loaded["model"])
    if loaded.get("ema") is None:
        return weights, None, 0.0
    try:
        shadows, decay = loaded["ema"]["shadow_params"], float(loaded["ema_decay"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the moving average cannot be read ({error!r}).") from error
    return weights, _named_average(path, weights, shadows), decay


def _named_tensors(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no weights.")
    return dict(state)


def _named_average(path: Path, weights: Mapping[str, Tensor], shadows: Any) -> dict[str, Tensor]:
    """Name the averages, which are listed in the order of the model's parameters."""
    names = [name for name in weights if not name.endswith(MASK)]
    shapes = [weights[name].shape for name in names]
    if not isinstance(shadows, list) or shapes != [getattr(shadow, "shape", None) for shadow in shadows]:
        raise InputError(f"{path}: the moving average does not fit the weights.")
    return dict(zip(names, cast(list[Tensor], shadows), strict=True))
