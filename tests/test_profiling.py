"""Profiles: their content, and when they are written."""

import json
from pathlib import Path

import pytest
import torch

from trajectory_adacat import profiling
from trajectory_adacat.profiling import StepProfile


def n_products(folder: Path) -> int:
    """Return the number of matrix products in the trace."""
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    return sum(event["name"] == "aten::mm" for event in events)


def run(profile: StepProfile, n_steps: int) -> None:
    """Take steps of one matrix product each."""
    for _ in range(n_steps):
        torch.ones(4, 4) @ torch.ones(4, 4)
        profile.step()


@pytest.mark.parametrize(("n_warmup", "n_steps", "n_run", "n_profiled"), [(2, 3, 5, 3), (2, 3, 9, 3), (0, 2, 4, 2)])
def test_a_profile_holds_the_steps_after_the_warm_up(
    tmp_path: Path, n_warmup: int, n_steps: int, n_run: int, n_profiled: int
) -> None:
    with StepProfile(tmp_path / "profile", n_warmup, n_steps) as profile:
        run(profile, n_run)
        assert (tmp_path / "profile" / "profile.txt").exists()
    assert n_products(tmp_path / "profile") == n_profiled
    table = (tmp_path / "profile" / "profile.txt").read_text()
    assert f"{n_profiled} steps" in table
    assert "aten::mm" in table
    assert "Self CPU" in table


def test_a_loop_that_ends_early_is_profiled_up_to_its_end(tmp_path: Path) -> None:
    with StepProfile(tmp_path, 1, 5) as profile:
        run(profile, 3)
        assert not any(tmp_path.iterdir())
    assert n_products(tmp_path) == 2


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_a_loop_that_fails_writes_no_profile(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), StepProfile(tmp_path, 1, 5) as profile:
        run(profile, 3)
        raise error
    assert not any(tmp_path.iterdir())


def test_a_trace_of_too_many_events_is_not_written_and_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "MAX_TRACE_EVENTS", 10)
    with StepProfile(tmp_path, 0, 50) as profile:
        run(profile, 50)
    assert [path.name for path in tmp_path.iterdir()] == ["profile.txt"]
    assert "no trace.json" in (tmp_path / "profile.txt").read_text()


def test_an_earlier_profile_is_deleted(tmp_path: Path) -> None:
    with StepProfile(tmp_path, 0, 1) as profile:
        run(profile, 1)
    with StepProfile(tmp_path, 2, 1) as profile:
        run(profile, 1)
    assert not any(tmp_path.iterdir())


def test_operators_are_sorted_by_their_time_on_the_device_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a GPU that the steps do not use
    x = torch.ones(200, 200)
    with StepProfile(tmp_path, 0, 1) as profile:
        for _ in range(20):
            torch.relu(x @ x).sum().sin()
        profile.step()
    _, _, header, _, *lines = (tmp_path / "profile.txt").read_text().splitlines()
    place = [name.strip() for name in header.split("  ") if name.strip()].index("Self CPU %")
    shares = [
        float(line.split()[place].rstrip("%")) for line in lines[: lines.index(next(x for x in lines if "--" in x))]
    ]
    assert len(shares) > 3
    assert shares == sorted(shares, reverse=True)


def test_a_profile_is_written_once_and_only_if_a_step_was_profiled(tmp_path: Path) -> None:
    with StepProfile(tmp_path / "none", 2) as profile:
        run(profile, 2)
    assert not (tmp_path / "none").exists()
    with StepProfile(tmp_path / "once", 0, 1) as profile:
        run(profile, 1)
        (tmp_path / "once" / "profile.txt").unlink()
        run(profile, 5)
    assert not (tmp_path / "once" / "profile.txt").exists()


@pytest.mark.parametrize("numbers", [(-1, 1), (0, 0)])
def test_invalid_numbers_of_steps_are_refused(tmp_path: Path, numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n_warmup"):
        StepProfile(tmp_path, *numbers)
