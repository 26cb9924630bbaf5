"""The benchmark of vector instructions at a small size."""

from pathlib import Path

import pytest
import torch

from benchmarks import processors
from trajectory_adacat.errors import InputError


def test_differences_are_in_units_of_the_largest_weight_of_a_tensor() -> None:
    first = {"a": torch.tensor([1.0, -4.0]), "b": torch.tensor([0.0, 0.1])}
    second = {"a": torch.tensor([2.0, -4.0]), "b": torch.tensor([0.0, 0.15])}
    assert processors.largest_difference(first, second) == pytest.approx(0.5)
    assert processors.largest_difference(first, first) == 0.0


@pytest.mark.parametrize("flags", [["--capabilities", "avx2"], ["--n_steps", "4"]])
def test_invalid_flags_are_refused(flags: list[str]) -> None:
    with pytest.raises(InputError, match="two --capabilities, and --n_steps"):
        processors.main(flags)


@pytest.mark.slow
def test_two_processors_train_and_plan(
    collected_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(collected_home))
    flags = ["--n_steps", "3", "--n_rollouts", "1", "--logbase", str(tmp_path)]
    processors.main(flags)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("default: ")
    assert printed[0].endswith("(DEFAULT)")
    assert [line.split(" | ")[0] for line in printed[4:7]] == ["| 1", "| 2", "| 3"]
    assert [line.split(" | ")[:2] for line in printed[-2:]] == [["| default", "default"], ["| avx2", "avx2"]]
    processors.main(flags)
    assert capsys.readouterr().out.splitlines() == printed
