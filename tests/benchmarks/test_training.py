"""The training benchmark at a small size."""

import pytest

from benchmarks import training
from trajectory_adacat.errors import InputError


def test_the_requested_variant_is_compared_with_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--models", "cpu", "--batch_size", "4", "--repeats", "1"]
    training.main([*small, "--precision", "bfloat16", "--accumulate", "2"])
    header, _, *lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    plain, requested = (dict(zip(header, line, strict=True)) for line in lines)
    assert (plain["variant"], requested["variant"]) == ("float32", "bfloat16, 2 micro-batches")
    assert plain["ratio to plain"] == "1.00"
    assert int(requested["saved for backward (MiB)"]) < int(plain["saved for backward (MiB)"])
    for line in (plain, requested):
        assert float(line["ratio to floor"]) > 0
        assert sum(float(line[stage]) for stage in training.STAGES) == pytest.approx(100, abs=0.5)


def test_an_unknown_model_is_refused_by_its_flag() -> None:
    with pytest.raises(InputError, match="--models"):
        training.main(["--models", "gpt"])
