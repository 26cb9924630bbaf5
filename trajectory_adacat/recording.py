"""What ``plan --record`` keeps of a rollout and the report reads: one compressed file, without torch."""

import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.errors import DataError
from trajectory_adacat.files import open_regular, parse_json, remove_left_over

FORMAT = 1
FOLDER = "recordings"  # in an experiment's folder
PATTERN = "rollout_*.npz"
LARGEST_RECORDING = 1 << 31  # bytes of its arrays
# What zipfile, numpy and json raise for damaged files.
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error),
)
QUANTILES = (0.05, 0.5, 0.95)  # of the candidates, in `Recording.spread` and `Recording.score_spread`
DESCRIPTION = "description"

Array = NDArray[Any]


@dataclass(frozen=True)
class Recording:
    """A rollout of T steps, and N of its plans, each of H transitions with D dimensions (observation, action, reward,
    value).

    Everything is in the units of the environment; bins alone are in [0, 1], from ``low`` to ``high``.

    Attributes:
        description: what the rollout depends on, and its result; see docs/report.md.
        observations: ``[T + 1, o]``.
        actions: as planned, before clipping to the action space, ``[T, a]``.
        rewards: ``[T]``.
        steps: step of each plan, ``[N]``.
        plans: chosen plans, ``[N, H, D]``; NaN where nothing was imagined, such as a last value that no score needs.
            The first observation is the real one.
        spread: quantiles `QUANTILES` over the candidates of the last transition, ``[N, 3, H, D]``.
        scores: predicted discounted return of each plan, ``[N]``.
        score_spread: quantiles `QUANTILES` over the candidates, ``[N, 3]``.
        realized: discounted return that followed, ``[N]``; NaN where it is unknown, as in `evaluation.planned`.
        low: lower end of the bins of each dimension, ``[D]``.
        high: upper end, ``[D]``.
        pit: predictive cdf at the next real observation and reward, ``[N, o + 1]``, each given the real numbers before
            it. Uniform in [0, 1] if the model is calibrated.
        widths: of the bins of the first imagined transition: its action, reward and value, and the observation that
            follows, ``[N, D, k]``; k is 0 for a model without bins.
        masses: of these bins, before the cutoffs, ``[N, D, k]``.
        kept: whether the cutoffs keep a bin, ``[N, D, k]``.
        video: H.264 in MP4, a frame for each plan; empty without frames.
    """

    description: dict[str, Any]
    observations: Array
    actions: Array
    rewards: Array
    steps: Array
    plans: Array
    spread: Array
    scores: Array
    score_spread: Array
    realized: Array
    low: Array
    high: Array
    pit: Array
    widths: Array
    masses: Array
    kept: Array
    video: Array = field(default_factory=lambda: np.zeros(0, np.uint8))

    def save(self, path: Path) -> None:
        """Write the file atomically, with its folder.

        Raises:
            DataError: if it cannot be written, for example because the disk is full; nothing is left.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        arrays[DESCRIPTION] = np.array(json.dumps(self.description))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
            remove_left_over(temporary, f".{path.name}.*")
            temporary.replace(path)
        except OSError as error:
            raise DataError(
                f"The recording {path} could not be written ({error}): make room, then go on with --resume."
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


ARRAYS = tuple(attribute.name for attribute in fields(Recording) if attribute.name != DESCRIPTION)


def load_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        DataError: if the file is missing, damaged, or of another format.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_RECORDING:
                raise ValueError(f"its arrays would take more than {LARGEST_RECORDING} bytes")
            description = parse_json(str(_read_array(archive, DESCRIPTION)))
            if description["format"] != FORMAT:
                raise DataError(f"The recording {path} has format {description['format']}, not {FORMAT}.")
            recording = Recording(description, **{name: _read_array(archive, name) for name in ARRAYS})
    except DataError:
        raise
    except DAMAGE as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"The recording {path} cannot be read: {text}.") from error
    _check(recording, path)
    return recording


def _read_array(archive: zipfile.ZipFile, name: str) -> Array:
    """Read an array of numbers or text of an npz file; memory is taken for what the file holds, not for what it says.

    Raises:
        ValueError: if it is damaged, or consists of objects, which could be code.
    """
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        if dtype.kind not in "fiubU":
            raise ValueError(f"{name} is not an array of numbers")
        data = bytearray(file.read())
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {len(data)} bytes, which are not those of the shape {shape}")
    if not data:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def _check(recording: Recording, path: Path) -> None:
    """Check that the arrays agree in their sizes; none of them is trusted."""
    for name in ARRAYS:
        if getattr(recording, name).dtype.kind not in "fiub":
            raise DataError(f"The recording {path} is damaged: its {name} are not numbers.")
    if recording.steps.dtype.kind not in "iu":
        raise DataError(f"The recording {path} is damaged: its steps are not whole numbers.")
    arrays = {name: getattr(recording, name).shape for name in ARRAYS}
    if [len(arrays[name]) for name in ("observations", "actions", "plans", "widths")] != [2, 2, 3, 3]:
        raise DataError(f"The recording {path} is damaged: its arrays have other numbers of axes.")
    (n_steps, a), o = arrays["actions"], arrays["observations"][1]
    n, horizon, d = arrays["plans"]
    bins = arrays["widths"][2]
    expected = {
        "observations": (n_steps + 1, o),
        "rewards": (n_steps,),
        "plans": (n, horizon, o + a + 2),
        "spread": (n, len(QUANTILES), horizon, d),
        "score_spread": (n, len(QUANTILES)),
        "pit": (n, o + 1),
        **dict.fromkeys(("steps", "scores", "realized"), (n,)),
        **dict.fromkeys(("low", "high"), (d,)),
        **dict.fromkeys(("widths", "masses", "kept"), (n, d, bins)),
    }
    wrong = [name for name, shape in expected.items() if arrays[name] != shape]
    if wrong or not all(0 <= step < n_steps for step in recording.steps):
        raise DataError(f"The recording {path} is damaged: its arrays do not fit together ({(wrong or ['steps'])[0]}).")


def find_recordings(folder: Path) -> list[Path]:
    """Return the files of recordings in a folder and in all folders below it, sorted."""
    return sorted(path for path in folder.rglob(PATTERN) if path.parent.name == FOLDER)
