"""The jobs of a sweep: what each runs, what it needs, and when it is done."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["collect", "plan", "critic", "train"]
PRIORITY: tuple[Kind, ...] = ("collect", "plan", "critic", "train")  # among the jobs that are ready; results come early


@dataclass(frozen=True)
class Job:
    """A process of a sweep.

    Attributes:
        name: unique in the sweep; its first word is the kind.
        kind: what it does.
        command: arguments of the Python interpreter.
        is_done: whether its output is there and whole.
        needs: names of the jobs that must be done before.
        folder: where it writes, if that is a folder of the sweep.
        prepare: called before each start; returns whether there is a checkpoint to go on from.
        seconds: estimated duration.
        is_measured: whether that estimate rests on measured steps.
    """

    name: str
    kind: Kind
    command: tuple[str, ...]
    is_done: Callable[[], bool]
    needs: tuple[str, ...] = ()
    folder: Path | None = None
    prepare: Callable[[], bool] = lambda: False
    seconds: float = 0.0
    is_measured: bool = False

    def resumed_command(self) -> list[str]:
        """Prepare the job; return its command, with ``--resume`` where there is a checkpoint to go on from."""
        return [*self.command, "--resume"] if self.prepare() else list(self.command)


def find_done(jobs: Sequence[Job]) -> set[str]:
    """Return the names of the jobs that are done. A job is not if one that it needs is not."""
    done: set[str] = set()
    for job in jobs:
        if done.issuperset(job.needs) and job.is_done():
            done.add(job.name)
    return done


def by_priority(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs in the order in which they start, each kind in the given order."""
    return sorted(jobs, key=lambda job: PRIORITY.index(job.kind))


def dependants(name: str, jobs: Sequence[Job]) -> list[str]:
    """Return the names of the jobs that need a job, directly or not. Each job must stand after those it needs."""
    found = [name]
    for job in jobs:
        if not set(found).isdisjoint(job.needs):
            found.append(job.name)
    return found[1:]


def duration(jobs: Sequence[Job], processes: int) -> float:
    """Estimate the seconds that jobs take side by side: their sum shared evenly, or the longest chain.

    Each job must stand after those it needs; needs outside ``jobs`` are done.
    """
    ends: dict[str, float] = {}
    for job in jobs:
        ends[job.name] = job.seconds + max((ends.get(name, 0.0) for name in job.needs), default=0.0)
    return max([sum(job.seconds for job in jobs) / processes, *ends.values()])
