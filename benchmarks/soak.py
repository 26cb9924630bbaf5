"""Run a command for a long time and show whether it takes more and more memory, file handles, threads or files.

    python -m benchmarks.soak --minutes 60 --out soak.jsonl -- COMMAND ...

The command starts again each time it ends; ``{start}`` in it stands for the number of the start, from 1 on. At the end
it gets SIGINT, or SIGKILL in its first 5 seconds. Its temporary folder (``TMPDIR``) is a fresh one. Needs Linux: the
figures come from ``/proc``, summed over the command and all its child processes. Memory that processes share counts in
each of them; ``own_memory_mib`` is that of the command without its children.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.files import append_line

QUANTITIES = ("memory_mib", "own_memory_mib", "handles", "threads", "processes", "temporary_files")
WARM_UP = 0.1  # share of the samples that the summary leaves out
YOUNG_SECONDS = 5.0  # in which SIGINT finds an interpreter that still starts, and fails
GRACE_SECONDS = 60.0  # between SIGINT and SIGKILL
INTERRUPTED = {0, -signal.SIGINT, 128 + signal.SIGINT}  # exit statuses after SIGINT
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20

Sample = Mapping[str, float]


class SoakArguments(CommandParser):
    """Run a command again and again, and sample what it takes. The command follows after two dashes."""

    minutes: float = 60.0  # duration
    starts: int | None = None  # starts of the command after which the soak ends earlier
    interval: float = 10.0  # seconds between samples
    out: Path  # JSON-lines file of the samples; must not exist


def process_tree(root: int) -> list[int]:
    """Return the ids of a process and its descendants; empty if there is no such process."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [root] if Path(f"/proc/{root}").exists() else []
    for pid in found:
        found += children.get(pid, [])
    return found


def measure(root: int, temporary: Path) -> dict[str, float]:
    """Return the quantities of a process tree and the number of files and folders in its temporary folder."""
    sums = dict.fromkeys(QUANTITIES, 0.0)
    for pid in process_tree(root):
        with suppress(OSError):
            memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MIB
            own = {"memory_mib": memory, "own_memory_mib": memory if pid == root else 0.0}
            own |= {"handles": len(os.listdir(f"/proc/{pid}/fd")), "threads": len(os.listdir(f"/proc/{pid}/task"))}
            own["processes"] = 1
            for name, value in own.items():
                sums[name] += value
    sums["temporary_files"] = sum(len(folders) + len(files) for _, folders, files in os.walk(temporary))
    return sums


@contextmanager
def started(command: Sequence[str], temporary: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a command as the leader of a process group; kill what is left of the group at the end."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait at most these seconds for the end of a process; return whether it came."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, seconds))
    return process.returncode is not None


def interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGINT and wait for the end.

    Raises:
        InputError: if the process does not end, or fails.
    """
    process.send_signal(signal.SIGINT)
    if not ended(process, GRACE_SECONDS):
        raise InputError(f"The command did not end within {GRACE_SECONDS:.0f} s after SIGINT.")
    if process.returncode not in INTERRUPTED:
        raise InputError(f"The command ended with status {process.returncode} after SIGINT.")


def soak(command: Sequence[str], arguments: SoakArguments) -> list[Sample]:
    """Run a command again and again; return the samples, which are also written to ``--out`` one by one.

    Raises:
        InputError: if the command cannot be started, or fails.
    """
    samples: list[Sample] = []
    begin = time.monotonic()
    start, stop, due = 0, begin + 60.0 * arguments.minutes, begin + arguments.interval
    with tempfile.TemporaryDirectory(prefix="soak_") as temporary:
        while time.monotonic() < stop and start != arguments.starts:
            start, started_at = start + 1, time.monotonic()
            with started([part.replace("{start}", str(start)) for part in command], Path(temporary)) as process:
                while not ended(process, min(due, stop) - time.monotonic()) and time.monotonic() < stop:
                    measured = measure(process.pid, Path(temporary))
                    samples.append({"seconds": round(time.monotonic() - begin, 2), "start": start, **measured})
                    append_line(arguments.out, samples[-1])
                    due += arguments.interval
                if process.returncode is None and time.monotonic() - started_at > YOUNG_SECONDS:
                    interrupt(process)
                elif process.returncode:
                    raise InputError(f"Start {start} of the command ended with status {process.returncode}.")
    print(f"{start} starts, {len(samples)} samples in {(time.monotonic() - begin) / 60:.1f} minutes")
    return samples


def summarize(samples: Sequence[Sample]) -> list[list[Any]]:
    """Return a row for each quantity: medians of the first and last tenth, maximum, slope per hour; no warm-up."""
    kept = samples[int(WARM_UP * len(samples)) :]
    tenth = max(1, len(kept) // 10)
    hours = [sample["seconds"] / 3600.0 for sample in kept]
    rows = []
    for name in QUANTITIES:
        values = [sample[name] for sample in kept]
        slope = statistics.linear_regression(hours, values).slope
        rows.append([name, statistics.median(values[:tenth]), statistics.median(values[-tenth:]), max(values), slope])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command, then print the table.

    Raises:
        InputError: for a bad flag, without a command, if the command fails, or if there are too few samples.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    own, command = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    arguments = SoakArguments().parse(own)
    if not command:
        raise InputError("Give the command after two dashes: python -m benchmarks.soak --out FILE -- COMMAND ...")
    check_positive(arguments, "starts")
    if min(arguments.minutes, arguments.interval) <= 0:
        raise InputError("--minutes and --interval must be positive.")
    if arguments.out.exists():
        raise InputError(f"{arguments.out} exists: choose another --out.")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background process, and so the command, ignores SIGINT
        signal.signal(number, signal.default_int_handler)
    samples = soak(command, arguments)
    if len(samples) < 2:
        raise InputError(f"There are {len(samples)} samples: choose more --minutes or a shorter --interval.")
    print("| quantity | first tenth | last tenth | maximum | change per hour |\n|---|---|---|---|---|")
    for name, *values in summarize(samples):
        print(f"| {name} | {' | '.join(f'{value:.4g}' for value in values)} |")


if __name__ == "__main__":
    run_command(main)
