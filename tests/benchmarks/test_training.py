"""The benchmark of training runs as its help says, at a small size."""

import pytest

from benchmarks import training
from trajectory_adacat.errors import InputError


def test_a_way_of_computing_stands_beside_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--models", "cpu", "--batch_size", "4", "--repeats", "1"]
    training.main([*small, "--precision", "bfloat16", "--accumulate", "2"])
    header, _, *lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    plain, asked = (dict(zip(header, line, strict=True)) for line in lines)
    assert (plain["way"], asked["way"]) == ("float32", "bfloat16, 2 parts")
    assert plain["to plain"] == "1.00"
    assert int(asked["kept for the gradient (MiB)"]) < int(plain["kept for the gradient (MiB)"])
    for line in (plain, asked):
        assert float(line["ratio to floor"]) > 0
        assert sum(float(line[stage]) for stage in training.STAGES) == pytest.approx(100, abs=0.5)


def test_an_unknown_model_is_refused_by_its_flag() -> None:
    with pytest.raises(InputError, match="--models"):
        training.main(["--models", "gpt"])
