"""What ``plan --record`` keeps of a rollout and the report reads: one compressed file, without torch."""

import json
import os
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.errors import InputError

FORMAT = 1
FOLDER = "recordings"  # in an experiment's folder
PATTERN = "rollout_*.npz"
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
        """Write the file atomically, with its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        arrays[DESCRIPTION] = np.array(json.dumps(self.description))
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        temporary.replace(path)


ARRAYS = tuple(attribute.name for attribute in fields(Recording) if attribute.name != DESCRIPTION)


def load_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InputError: if the file is missing, damaged, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            description = json.loads(str(file[DESCRIPTION]))
            if description["format"] != FORMAT:
                raise InputError(f"The recording {path} has format {description['format']}, not {FORMAT}.")
            recording = Recording(description, **{name: file[name] for name in ARRAYS})
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"The recording {path} cannot be read: {error}.") from error
    _check(recording, path)
    return recording


def _check(recording: Recording, path: Path) -> None:
    """Check that the arrays agree in their sizes; none of them is trusted."""
    arrays = {name: getattr(recording, name).shape for name in ARRAYS}
    if [len(arrays[name]) for name in ("observations", "actions", "plans", "widths")] != [2, 2, 3, 3]:
        raise InputError(f"The recording {path} is damaged: its arrays have other numbers of axes.")
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
        raise InputError(
            f"The recording {path} is damaged: its arrays do not fit together ({(wrong or ['steps'])[0]})."
        )


def find_recordings(folder: Path) -> list[Path]:
    """Return the files of recordings in a folder and in all folders below it, sorted."""
    return sorted(path for path in folder.rglob(PATTERN) if path.parent.name == FOLDER)
