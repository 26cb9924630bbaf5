"""Records of rollouts whose environment failed, apart from the results."""

import json
from pathlib import Path
from typing import Any

from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.files import append_line, write_atomically

FAILURES_FILE = "failures.jsonl"


class FailuresWriter:
    """Write a record of each rollout whose environment failed.

    Args:
        folder: folder of the experiment; the first failure creates its file ``failures.jsonl``.
        environment: what defines the environment, as results record it.
        planner: what defines the method, as results record it.
        checkpoint: hash of the checkpoint.

    Attributes:
        path: the file.
        seeds: rollout seeds of the failures written so far.
    """

    def __init__(self, folder: Path, environment: dict[str, Any], planner: dict[str, Any], checkpoint: str) -> None:
        self.path = folder / FAILURES_FILE
        self.seeds: set[int] = set()
        self._environment, self._planner, self._checkpoint = environment, planner, checkpoint

    def write(self, episode: EpisodeResult) -> str:
        """Add the record of a failed rollout, and return a line that says where it failed."""
        record = {
            "environment": self._environment,
            "rollout_seed": episode.seed,
            "step": episode.length,
            "error": episode.error,
            "checkpoint": self._checkpoint,
            "planner": self._planner,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, record)
        self.seeds.add(episode.seed)
        where = f"step {episode.length}" if episode.length else "its reset"
        return f"{self._environment['environment']}, seed {episode.seed}, failed at {where}: {episode.error}"

    def forget(self, seed: int) -> None:
        """Remove the records of earlier failures of a seed that is planned again."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["rollout_seed"] != seed]
        if lines and not kept:
            self.path.unlink()
        elif len(kept) < len(lines):
            write_atomically(self.path, "".join(kept))
