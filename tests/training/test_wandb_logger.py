"""Metrics in Weights & Biases, without network. Skipped where wandb is not installed."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.training.logger import MetricsLogger, read_metrics

wandb = pytest.importorskip("wandb", reason="wandb is not installed")

BLOCK = 32768  # bytes of a block in LevelDB's log format, which the run's file has
HEADER = 7  # bytes before the first record, and of the header of each record


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


def records(path: Path) -> Iterator[Any]:
    """Every record of an offline run."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def history(folder: Path) -> list[dict[str, float]]:
    """The logged metrics of all offline runs below a folder, without those that wandb adds."""
    wandb.teardown()  # waits for the process that writes the files
    found = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for path in sorted(folder.rglob("run-*.wandb"))
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]
    return [{name: value for name, value in line.items() if not name.startswith("_")} for line in found]


def test_wandb_gets_the_same_metrics_as_the_file(tmp_path: Path) -> None:
    with MetricsLogger(tmp_path / "gpt_0", 0, "project", {"n_steps": 3}) as logger:
        for step in (1, 2, 3):
            logger.log(step, {"loss": step / 10, "held_out/all": -step})
    assert history(tmp_path) == read_metrics(tmp_path / "gpt_0")


def test_a_run_has_the_projects_and_the_folders_name_and_the_settings(tmp_path: Path) -> None:
    with MetricsLogger(tmp_path / "gpt_0", 0, "project", {"training": {"n_steps": 3}}):
        pass
    wandb.teardown()
    (path,) = tmp_path.rglob("run-*.wandb")
    run = next(record.run for record in records(path) if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("project", "gpt_0")
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["training"] == {"n_steps": 3}


def test_a_resumed_training_goes_on_with_its_run_and_a_new_one_does_not(tmp_path: Path) -> None:
    for start in (0, 2, 0):
        with MetricsLogger(tmp_path, start, "project") as logger:
            logger.log(start + 1, {"loss": 1.0})
    names = [path.stem for path in sorted(tmp_path.rglob("run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)]
    assert names[0] == names[1] != names[2]
