"""The soak sees a command that leaks, and one that does not."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks import soak
from trajectory_adacat.errors import InputError

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")

# Each makes a temporary file when the interpreter has started.
FLAT = "import tempfile, time; tempfile.mkstemp(); time.sleep(60)"
LEAKING = """
import subprocess, sys
code = "import tempfile, time\\nwhile True: tempfile.mkstemp(); time.sleep(0.01)"
subprocess.run([sys.executable, "-c", code])
"""


@pytest.fixture(autouse=True)
def _keep_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(out: Path, code: str, seconds: float = 1.5) -> list[str]:
    flags = ["--minutes", str(seconds / 60), "--interval", "0.05", "--out", str(out)]
    return [*flags, "--", sys.executable, "-c", code, "{start}"]


def rows(out: Path) -> dict[str, list[float]]:
    """Summarize the samples since the first temporary file."""
    samples = [json.loads(line) for line in out.read_text().splitlines()]
    return {name: values for name, *values in soak.summarize([s for s in samples if s["temporary_files"]])}


def test_a_flat_command_is_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soak.main(run(tmp_path / "out.jsonl", FLAT))
    table = rows(tmp_path / "out.jsonl")
    for name in ("handles", "threads", "temporary_files"):
        first, last, most, slope = table[name]
        assert first == last == most > 0, name
        assert slope == 0, name
    assert table["processes"] == [1, 1, 1, 0]
    printed = [line.strip("| ").split(" | ")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed[3:] == list(soak.QUANTITIES)


def test_a_leak_in_a_child_process_is_seen(tmp_path: Path) -> None:
    soak.main(run(tmp_path / "out.jsonl", LEAKING))
    table = rows(tmp_path / "out.jsonl")
    for name in ("handles", "temporary_files"):
        first, last, most, slope = table[name]
        assert first < last <= most, name
        assert slope > 0, name
    assert table["processes"] == [2, 2, 2, 0]
    assert 0 < max(table["own_memory_mib"][:3]) < min(table["memory_mib"][:3])


def test_a_command_that_ends_starts_again(tmp_path: Path) -> None:
    out, starts = tmp_path / "out.jsonl", tmp_path / "starts"
    script = f"echo {{start}} >> '{starts}'; sleep 0.1"
    flags = ["--minutes", "0.025", "--interval", "0.02", "--out", str(out)]
    soak.main([*flags, "--", "sh", "-c", script])
    n_starts = len(starts.read_text().split())
    assert starts.read_text().split() == [str(n) for n in range(1, n_starts + 1)]
    assert n_starts > 1
    seen = [json.loads(line)["start"] for line in out.read_text().splitlines()]
    assert seen == sorted(seen)
    assert 1 < max(seen) <= n_starts + 1  # the last one may be killed before it writes


def test_the_number_of_starts_can_end_the_soak(tmp_path: Path) -> None:
    flags = ["--minutes", "60", "--interval", "0.01", "--starts", "3", "--out", str(tmp_path / "out.jsonl")]
    soak.main([*flags, "--", "sh", "-c", f"echo >> '{tmp_path}/starts'; sleep 0.1"])
    assert len((tmp_path / "starts").read_text().splitlines()) == 3


def test_a_command_that_fails_ends_the_soak(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Start 1 of the command ended with status 7"):
        soak.main(run(tmp_path / "out.jsonl", "raise SystemExit(7)", seconds=60))


@pytest.mark.parametrize(("status", "is_refused"), [(9, True), (0, False), (130, False)])
def test_a_command_that_fails_after_the_signal_is_refused(tmp_path: Path, status: int, is_refused: bool) -> None:
    # A folder: closing a file can swallow what a signal's handler raises.
    code = (
        f"import signal, sys, time; signal.signal(2, lambda *_: sys.exit({status})); os.mkdir('ready'); time.sleep(60)"
    )
    refused = pytest.raises(InputError, match=f"status {status} after SIGINT") if is_refused else nullcontext()
    with soak.started([sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {code}"], tmp_path) as process:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        with refused:
            soak.interrupt(process)


def test_the_warm_up_is_left_out() -> None:
    samples = [
        {"seconds": 36.0 * n, **dict.fromkeys(soak.QUANTITIES, 5.0 + n if n >= 10 else 900.0)} for n in range(100)
    ]
    for _, *values in soak.summarize(samples):
        assert values == pytest.approx([19.0, 100.0, 104.0, 100.0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "new", "--"], "Give the command"),
        (["--out", "new", "--minutes", "0", "--", "true"], "must be positive"),
        (["--out", "old", "--", "true"], "old exists"),
    ],
)
def test_invalid_flags_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old").touch()
    with pytest.raises(InputError, match=message):
        soak.main(flags)
