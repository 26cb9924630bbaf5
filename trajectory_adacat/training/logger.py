"""Training metrics as JSON lines, in TensorBoard if it is installed, and in Weights & Biases if asked for."""

import json
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

from trajectory_adacat.errors import InputError
from trajectory_adacat.files import parse_json, read_text, write_atomically

METRICS_FILE = "metrics.jsonl"
RUN_FILE = "wandb_run"  # holds the run's id in Weights & Biases, so that a resumed training goes on with it


class MetricsWriter(Protocol):
    """Where metrics go."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the metrics of one step."""

    def close(self) -> None:
        """Finish writing."""


class MetricsLogger:
    """Write the metrics of each logged step to every writer.

    Args:
        folder: folder of the files; created if needed.
        step: step at which training starts. Later lines are dropped: an interrupted run left them after its last
            checkpoint.
        project: project of Weights & Biases that gets the metrics; None for none.
        settings: what Weights & Biases shows as the run's configuration.

    Raises:
        ModuleNotFoundError: if a project is given and wandb is not installed.
    """

    def __init__(
        self, folder: Path, step: int, project: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writers: list[MetricsWriter] = [JsonWriter(folder, step), *_tensorboard(folder, step)]
        if project is not None:
            self._writers.append(WandbWriter(folder, step, project, settings or {}))

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of one step."""
        values = {name: float(value) for name, value in metrics.items()}
        for writer in self._writers:
            writer.write(step, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()


class JsonWriter:
    """One line for each step in ``metrics.jsonl``; see `MetricsLogger` for the arguments."""

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / METRICS_FILE
        kept = [line for line in read_metrics(folder) if line["step"] <= step] if path.exists() else []
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line."""
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"{self._file.name} cannot be written ({error}): make room, then go on with --resume from the latest "
                "checkpoint."
            ) from error

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # of what could not be written before
            self._file.close()


class TensorBoardWriter:
    """Scalars in ``tensorboard``.

    Args:
        board: a ``SummaryWriter``.
    """

    def __init__(self, board: Any) -> None:
        self._board = board

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar for each metric."""
        try:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        except Exception as error:  # a failing board does not end the training
            warnings.warn(f"TensorBoard's log lacks step {step}: {error}", stacklevel=2)

    def close(self) -> None:
        """Close the file."""
        with suppress(Exception):
            self._board.close()


class WandbWriter:
    """A run of Weights & Biases, named by the folder; ``WANDB_MODE=offline`` keeps it in the folder ``wandb``.

    Steps are a metric of their own: those that a resumed training repeats are not refused.

    Args:
        folder: folder of the training.
        step: step at which training starts; above 0, the run goes on.
        project: name of the project.
        settings: the run's configuration.
    """

    def __init__(self, folder: Path, step: int, project: str, settings: Mapping[str, Any]) -> None:
        import wandb

        file = folder / RUN_FILE
        if step == 0 or not file.exists():
            file.write_text(uuid.uuid4().hex)
        self._run = wandb.init(
            project=project,
            name=folder.name,
            id=file.read_text(),
            resume="allow",
            dir=folder.resolve(),  # its files are written by another process
            config=dict(settings),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send the metrics with their step."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the logged lines of a training run; a last line without newline, as a crash leaves it, is dropped.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is not a JSON object.
    """
    lines = read_text(folder / METRICS_FILE).splitlines(keepends=True)
    found = [parse_json(line) for line in lines if line.endswith("\n")]
    if not all(isinstance(line, dict) for line in found):
        raise ValueError("a line is not a JSON object")
    return found


def _tensorboard(folder: Path, step: int) -> list[TensorBoardWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return []
    return [TensorBoardWriter(SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1))]
