"""Where the time of some steps goes, operator by operator."""

from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

N_ROWS = 60
MAX_TRACE_EVENTS = 100_000  # some 25 MB, about what the viewers bear


class StepProfile:
    """Profiles a few steps of a loop and writes what it found, once.

    The first steps are left out, since they allocate memory and fill caches that later ones only use. `step` is
    called after each step; when enough are profiled, or when the context ends earlier without an error, the folder
    gets ``profile.txt``, the operators by their own time, and ``trace.json``, a Chrome trace (chrome://tracing,
    Perfetto), unless it held more than ``MAX_TRACE_EVENTS``. From then on it costs nothing. What an earlier profile
    left in the folder goes when the context begins.

    Args:
        folder: made when there is something to write.
        n_warmup: steps that are left out.
        n_steps: steps that are profiled.
        device: where the steps compute; the operators stand by their time there.
    """

    def __init__(self, folder: Path, n_warmup: int = 2, n_steps: int = 5, device: torch.device | str = "cpu") -> None:
        if n_warmup < 0 or n_steps < 1:
            raise ValueError(f"n_warmup must not be negative and n_steps positive, got {n_warmup} and {n_steps}.")
        self.folder, self._n_warmup, self._n_steps = folder, n_warmup, n_steps
        self._on_cuda = torch.device(device).type == "cuda"
        self._n_seen = 0
        self._profiler: profile | None = None

    def __enter__(self) -> Self:
        for path in (table_path(self.folder), self._trace):
            path.unlink(missing_ok=True)
        if self._n_warmup == 0:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        profiler = self._stop()
        n_profiled = self._n_seen - self._n_warmup
        if profiler is not None and kind is None and n_profiled > 0:
            self._write(profiler, n_profiled)

    def step(self) -> None:
        """Says that a step has ended."""
        self._n_seen += 1
        if self._n_seen == self._n_warmup:
            self._start()
        elif self._n_seen == self._n_warmup + self._n_steps:
            profiler = self._stop()
            if profiler is not None:
                self._write(profiler, self._n_steps)

    @property
    def _trace(self) -> Path:
        return self.folder / "trace.json"

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_cuda else [])]
        self._profiler = profile(activities=activities)
        self._profiler.start()

    def _stop(self) -> profile | None:
        profiler, self._profiler = self._profiler, None
        if profiler is not None:
            profiler.stop()
        return profiler

    def _write(self, profiler: profile, n_profiled: int) -> None:
        by = "self_device_time_total" if self._on_cuda else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=N_ROWS)
        events = profiler.events()
        n_events = 0 if events is None else len(events)
        steps = f"{n_profiled} step{'s' if n_profiled > 1 else ''} after {self._n_warmup} that are left out"
        heading = [f"{steps}; the operators by their own time"]
        self.folder.mkdir(parents=True, exist_ok=True)
        if n_events <= MAX_TRACE_EVENTS:
            profiler.export_chrome_trace(str(self._trace))
        else:
            heading.append(f"no trace.json: {n_events:,} events are more than the {MAX_TRACE_EVENTS:,} of a usable one")
        table_path(self.folder).write_text("\n".join([*heading, table]), encoding="utf-8")


def table_path(folder: Path) -> Path:
    """The table that a `StepProfile` writes to its folder; it is there if and only if the profile was written."""
    return folder / "profile.txt"
