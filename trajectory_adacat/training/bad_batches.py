"""Batches whose loss or gradient is not finite: recorded, and left out as far as that is allowed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trajectory_adacat.checkpoint import NAME
from trajectory_adacat.files import append_line, read_text
from trajectory_adacat.training.finite import check_finite

BAD_BATCHES_FILE = "bad_batches.jsonl"
SHOWN = 8  # members of a batch in a message; the file has all


class BadBatches:
    """Record batches whose loss or gradient is not finite, and end the training when there are too many.

    Args:
        folder: of the training; the first such batch creates its file ``bad_batches.jsonl``.
        allowed: number of such batches that are left out.
        member: what a batch consists of.

    Attributes:
        steps: those whose batches were left out, counted from 1.
    """

    def __init__(self, folder: Path, allowed: int, member: str) -> None:
        self.steps: list[int] = []
        self._folder, self._allowed, self._member = folder, allowed, member

    def record(self, step: int, values: Mapping[str, float], members: Sequence[int], leaves_out: bool = True) -> None:
        """Record a batch.

        Args:
            step: number of the step.
            values: its numbers, by name.
            members: of the batch.
            leaves_out: whether the batch can be left out.

        Raises:
            InputError: if it cannot, or as many as are allowed were left out before.
        """
        texts = {name: str(value) for name, value in values.items()}  # JSON has no NaN
        self._append({"step": step, **texts, f"{self._member}s": list(members)})
        shown = ", ".join(map(str, members[:SHOWN])) + (", ..." if len(members) > SHOWN else "")
        batch = f"the {self._member}s {shown} (all in {self._folder / BAD_BATCHES_FILE})"
        if leaves_out and len(self.steps) < self._allowed:
            self.steps.append(step)
            numbers = ", ".join(f"{name} {value}" for name, value in texts.items())
            tqdm.write(f"left out the batch of step {step} ({numbers}): {batch}")
            return
        more = f"Its batch holds {batch}. {self._last_checkpoint()}--resume --skip_bad_batches N leaves out N of them. "
        check_finite(values, step, more)

    def _append(self, record: Mapping[str, Any]) -> None:
        path = self._folder / BAD_BATCHES_FILE
        if not path.exists() or json.dumps(record) not in read_text(path).splitlines():  # else a step is repeated
            append_line(path, record)

    def _last_checkpoint(self) -> str:
        found = [path for path in self._folder.glob("step_*") if NAME.fullmatch(path.name)]
        return f"The last good checkpoint is {max(found)}: " if found else ""
