"""What a sweep shows where the output is no terminal."""

import pytest

from trajectory_adacat.sweep.display import Display, format_duration

from .conftest import job


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12600, "3.5 h"), (12 * 86400, "12 days")]
)
def test_durations_are_words(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_lines_tell_what_runs_what_is_left_and_until_when(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job("train", name, "", bool) for name in "abc"]
    display = Display(jobs, 1)
    display.begin({"train a"})
    display.started(jobs[1])
    display.ended(jobs[1], 3600.0, None)
    lines = capsys.readouterr().err.splitlines()
    assert "1 of 3 jobs are done; 2 left" in lines[0]
    assert lines[1].endswith("started train b")
    assert "finished train b in 60 min; 1 left, for about 60 min, until 20" in lines[2]


def test_a_quiet_display_prints_failures_only(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job("train", "a", "", bool), job("plan", "a", "", bool, "train a")]
    display = Display(jobs, 1, quiet=True)
    display.begin(set())
    display.started(jobs[0])
    display.ended(jobs[0], 1.0, "first line\nlast line")
    display.skipped(["plan a"])
    shown = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["failed train a: last line", "skipped plan a"]
