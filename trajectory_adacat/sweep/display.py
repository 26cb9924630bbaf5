"""Show what a sweep is doing: a bar on a terminal, plain lines elsewhere."""

import dataclasses
import sys
import time
from collections.abc import Collection, Sequence

from tqdm import tqdm

from trajectory_adacat.sweep.jobs import Job, Kind, duration

REFRESH_SECONDS = 1.0


class Display:
    """Show the jobs that run, how many are left, and the expected end.

    The estimated durations of a kind of job are scaled by what the ended jobs of that kind took.

    Args:
        jobs: all jobs, each after those it needs.
        processes: number of processes side by side.
        quiet: print nothing but failures.
    """

    def __init__(self, jobs: Sequence[Job], processes: int, quiet: bool = False) -> None:
        self._jobs, self._processes, self._quiet = jobs, processes, quiet
        self._left = {job.name for job in jobs}
        self._started: dict[str, float] = {}
        self._estimated: dict[Kind, float] = {}
        self._taken: dict[Kind, float] = {}
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._bar: tqdm = tqdm(total=len(jobs), desc="sweep", unit="job", disable=not self._is_terminal)
        self._refreshed = 0.0

    def begin(self, done: Collection[str]) -> None:
        """Show the jobs that were done before."""
        self._left -= set(done)
        self._bar.update(len(done))
        self._line(f"{len(done)} of {len(self._jobs)} jobs are done; {self.outlook()}")

    def found(self, job: Job) -> None:
        """Show that a job turns out to be done."""
        self._left.discard(job.name)
        self._bar.update()
        self._line(f"found {job.name} done")

    def started(self, job: Job) -> None:
        """Show that a job has started."""
        self._started[job.name] = time.time()
        self._line(f"started {job.name}")

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        """Show that a job has ended."""
        self._left.discard(job.name)
        self._started.pop(job.name)
        self._bar.update()
        if error is None:
            self._estimated[job.kind] = self._estimated.get(job.kind, 0.0) + job.seconds
            self._taken[job.kind] = self._taken.get(job.kind, 0.0) + seconds
            self._line(f"finished {job.name} in {format_duration(seconds)}; {self.outlook()}")
        else:
            self._write(f"failed {job.name}: {' '.join(error.splitlines()[-1:])}")

    def skipped(self, names: Sequence[str]) -> None:
        """Show the jobs that a failed one keeps from running."""
        self._left -= set(names)
        self._bar.update(len(names))
        for name in names:
            self._write(f"skipped {name}")

    def update(self, running: Sequence[Job]) -> None:
        """Refresh the bar."""
        if self._is_terminal and time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            names = ", ".join(f"{job.name} ({format_duration(self._elapsed(job))})" for job in running)
            self._bar.set_postfix_str(f"{self.outlook()}; running: {names}")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def outlook(self) -> str:
        """Return how many jobs are left and when the last one is expected to end."""
        left = [job for job in self._jobs if job.name in self._left]
        if not left:
            return "none is left"
        expected = [dataclasses.replace(job, seconds=self._remaining(job)) for job in left]
        seconds = duration(expected, self._processes)
        end = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + seconds))
        return f"{len(left)} left, for about {format_duration(seconds)}, until {end}"

    def _elapsed(self, job: Job) -> float:
        return time.time() - self._started[job.name] if job.name in self._started else 0.0

    def _remaining(self, job: Job) -> float:
        estimated = self._estimated.get(job.kind, 0.0)
        scale = self._taken[job.kind] / estimated if estimated else 1.0
        return max(0.0, job.seconds * scale - self._elapsed(job))

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._write(text)

    def _write(self, text: str) -> None:
        self._bar.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


def format_duration(seconds: float) -> str:
    """Return a duration in words, such as ``45 s``, ``12 min``, ``3.5 h`` or ``12 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"
