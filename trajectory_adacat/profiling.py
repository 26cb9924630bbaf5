"""Profile some steps of a loop by operator."""

from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

N_ROWS = 60
MAX_TRACE_EVENTS = 100_000  # about 25 MB; viewers become slow beyond it


class StepProfile:
    """Profile a few steps of a loop and write the result once.

    Use it as a context and call `step` after each step. After the profiled steps, or if the context ends earlier
    without an error, it writes ``profile.txt``, the operators sorted by their own time, and ``trace.json``, a Chrome
    trace (chrome://tracing, Perfetto), unless that would exceed ``MAX_TRACE_EVENTS``. Later steps have no overhead.
    Entering the context deletes an earlier profile in the folder.

    Args:
        folder: output folder, created on writing.
        n_warmup: steps before the profiled ones, since the first steps allocate memory and fill caches.
        n_steps: steps to profile.
        device: device of the computation, whose time sorts the operators.

    Raises:
        ValueError: if ``n_warmup`` is negative or ``n_steps`` is not positive.
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
        """Call after each step."""
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
        steps = f"{n_profiled} step{'s' if n_profiled > 1 else ''} after {self._n_warmup} of warm-up"
        heading = [f"{steps}; operators sorted by their own time"]
        self.folder.mkdir(parents=True, exist_ok=True)
        if n_events <= MAX_TRACE_EVENTS:
            profiler.export_chrome_trace(str(self._trace))
        else:
            heading.append(f"no trace.json: its {n_events:,} events exceed the limit of {MAX_TRACE_EVENTS:,}")
        table_path(self.folder).write_text("\n".join([*heading, table]), encoding="utf-8")


def table_path(folder: Path) -> Path:
    """Return the path of the table of a `StepProfile`; the file exists if and only if a profile was written."""
    return folder / "profile.txt"
