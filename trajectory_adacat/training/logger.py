"""Training metrics as JSON lines, and in TensorBoard if it is installed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

METRICS_FILE = "metrics.jsonl"


class MetricsLogger:
    """Append one line per logged step to ``metrics.jsonl``.

    Args:
        folder: folder of the file; created if needed.
        step: step at which training starts. Lines of later steps are dropped: an interrupted run left them after its
            last checkpoint.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS_FILE
        kept = [line for line in read_metrics(folder) if line["step"] <= step] if path.exists() else []
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")
        self._board = _tensorboard_writer(folder, step)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of one step."""
        values = {name: float(value) for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the logged lines of a training run; a last line without newline, as a crash leaves it, is dropped."""
    lines = (folder / METRICS_FILE).read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _tensorboard_writer(folder: Path, step: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
