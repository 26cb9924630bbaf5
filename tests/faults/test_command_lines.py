"""Generated command lines: each ends with its work, which is left out here, or with one paragraph."""

import dataclasses
import functools
import shutil
import sys
from pathlib import Path
from random import Random
from typing import Any

import gymnasium
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.evaluation.test_results import RESULT
from tests.faults.commands import ENVIRONMENT, NAMES, SUBJECTS, Stopped, command_line, fill_in, stop_all
from tests.faults.fuzzing import CASES, fuzzed
from tests.scripts.conftest import write_file
from tests.scripts.test_plan import Line
from trajectory_adacat.console import main

DENSITY = Path(__file__).parents[1] / "fixtures" / "format2" / "density.jsonl"


@functools.cache
def flags() -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the type of each flag of each command."""
    return {name: subject.flags() for name, subject in SUBJECTS.items()}


@pytest.fixture(scope="module")
def places(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset, a trained model and its results."""
    folder = tmp_path_factory.mktemp("places")
    for seed in range(4):
        dataclasses.replace(RESULT, rollout_seed=seed).save(folder / ("results" if seed < 2 else "others"))
    shutil.copy(DENSITY, folder / "results")
    return {
        "data": write_file(folder / "own.hdf5", (9, 8, 7, 6)),
        "model": trained_once / "own" / "gpt" / "adacat_0",
        "results": folder / "results",
        "others": folder / "others",
    }


@pytest.fixture
def stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command does anything."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.envs.registration.registry))
    gymnasium.register(ENVIRONMENT, entry_point=lambda **options: Line(**options), max_episode_steps=20)
    stop_all(monkeypatch)


def outcome(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command; return how it ended: with a paragraph, with its work, with its help, or done."""
    capsys.readouterr()
    try:
        main(words)
    except Stopped:
        return "accepted"
    except SystemExit as end:
        if end.code in (0, None):  # --help
            return "helped"
        assert end.code in (2, 3, 4)
        *_, paragraph = capsys.readouterr().err.splitlines()
        assert paragraph.startswith("error: ")
        return "refused"
    return "done"


def test_every_command_is_tried() -> None:
    assert set(SUBJECTS) == NAMES


@pytest.mark.parametrize("name", sorted(SUBJECTS), ids=" ".join)
def test_a_command_with_what_it_needs_begins_its_work(
    stopped: None, places: dict[str, Path], capsys: pytest.CaptureFixture[str], name: tuple[str, ...]
) -> None:
    """Otherwise all that is tried would be refused for another reason."""
    found = outcome(fill_in([*name, *SUBJECTS[name].needed], places), capsys)
    assert found in (("refused",) if name == ("convert",) else ("accepted", "done"))  # no weights to convert


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--suffix=--"],
        ["train", "--threads", str(2**31)],
        ["train", "--device", "hpu"],
        ["train", "--dataset_path", "~nobody_of_this_name/own.hdf5"],
        ["collect", "--policy", "~nobody_of_this_name/a.zip", "--name", "hopper-own"],
        ["table", "{results}", "--out", "\udcff"],
        ["convert", "{results}", "--dataset", "own", "--logbase", "x" * 300],
        ["sweep", "--name", "fuzzed", "--datasets", "own", "--train", f"n_steps={10**400}"],
        ["sweep", "--name", "fuzzed", "--datasets", "own", "--rollouts", str(10**9)],
        ["density", "toy", "--spiral_steps", str(10**400)],
        ["density", "toy", "--spiral_steps", str(10**10)],
        ["density", "toy", "--smoothing", "nan"],
        ["density", "toy", "--seeds", "-1"],
        ["density", "toy", "--output", "/proc/nothing"],
        ["compare", "{results}", "{others}", "--parameterizations", "a", "b", "--parameterizations", "c", "d", "e"],
    ],
    ids=range(15),
)
def test_what_was_found_is_refused(
    stopped: None, places: dict[str, Path], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    needed = SUBJECTS[("train",)].needed if words[0] == "train" else []
    assert outcome(fill_in([words[0], *needed, *words[1:]], places), capsys) == "refused"


@fuzzed(CASES)
@given(seed=st.integers(0, 2**62))
def test_command_lines(
    stopped: None, home: Path, places: dict[str, Path], capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    for left in home.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    words = command_line(flags(), Random(seed))
    note(f"the command line: {words}")
    outcome(fill_in(words, places), capsys)
