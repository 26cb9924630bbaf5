"""Where the time of some steps goes, operator by operator."""

from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

N_ROWS = 60


class StepProfile:
    """Profiles a few steps of a loop and writes what it found, once.

    The first steps are left out, since they allocate memory and fill caches that later ones only use. `step` is
    called after each step; when enough are profiled, or when the context ends earlier, the folder gets
    ``profile.txt``, the operators by their own time, and ``trace.json``, a Chrome trace (chrome://tracing, Perfetto).
    From then on it costs nothing.

    Args:
        folder: made when there is something to write.
        n_warmup: steps that are left out.
        n_steps: steps that are profiled.
    """

    def __init__(self, folder: Path, n_warmup: int = 2, n_steps: int = 5) -> None:
        if n_warmup < 0 or n_steps < 1:
            raise ValueError(f"n_warmup must not be negative and n_steps positive, got {n_warmup} and {n_steps}.")
        self.folder, self._n_warmup, self._n_steps = folder, n_warmup, n_steps
        self._n_seen = 0
        self._profiler: profile | None = None

    def __enter__(self) -> Self:
        if self._n_warmup == 0:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(self._n_seen - self._n_warmup)

    def step(self) -> None:
        """Says that a step has ended."""
        self._n_seen += 1
        if self._n_seen == self._n_warmup:
            self._start()
        elif self._n_seen == self._n_warmup + self._n_steps:
            self._finish(self._n_steps)

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profiler = profile(activities=activities, record_shapes=True)
        self._profiler.start()

    def _finish(self, n_profiled: int) -> None:
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        if n_profiled == 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=N_ROWS)
        heading = f"{n_profiled} steps after {self._n_warmup} that are left out; the operators by their own time\n"
        (self.folder / "profile.txt").write_text(heading + table, encoding="utf-8")
        profiler.export_chrome_trace(str(self.folder / "trace.json"))
