"""Metrics as JSON lines, also of a resumed run."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from trajectory_adacat.training.logger import MetricsLogger, read_metrics


def write(folder: Path, start: int, *steps: int) -> None:
    with MetricsLogger(folder, start) as metrics:
        for step in steps:
            metrics.log(step, {"loss": step / 10})


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it fails


def test_each_step_is_one_json_line(tmp_path: Path) -> None:
    with MetricsLogger(tmp_path / "new", 0) as metrics:
        metrics.log(3, {"loss": torch.tensor(0.5), "rate": 1})
        # The line is flushed, so others can read it during the run.
        lines = (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 3, "loss": 0.5, "rate": 1.0}]


def test_a_resumed_run_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3, 4)
    write(tmp_path, 2, 3, 5)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 5]


def test_a_new_run_drops_all_old_lines(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2)
    write(tmp_path, 0, 7)
    assert [line["step"] for line in read_metrics(tmp_path)] == [7]


@pytest.mark.parametrize("cut", ["{", '{"step": 9', '{"step": 9, "loss": 1.0}'])
def test_an_incomplete_last_line_is_dropped(tmp_path: Path, cut: str) -> None:
    write(tmp_path, 0, 1, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(cut)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    write(tmp_path, 2, 3)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]


def test_logged_lines_survive_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), MetricsLogger(tmp_path, 0) as metrics:
        metrics.log(1, {"loss": 1.0})
        raise KeyboardInterrupt
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]


def test_tensorboard_gets_the_same_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, 0, 1, 2, 3)
    write(tmp_path, 2, 3, 4)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(event.step, round(event.value, 5)) for event in events.Scalars("loss")]
    assert found == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's writing thread
def test_a_tensorboard_folder_that_vanishes_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    pytest.importorskip("tensorboard")
    n_steps = 30  # more than TensorBoard keeps before its writing thread has met the error
    with (
        pytest.warns(UserWarning, match=r"TensorBoard's log lacks step \d+: .*No such file"),
        MetricsLogger(tmp_path, 0) as metrics,
    ):
        shutil.rmtree(tmp_path / "tensorboard")
        for step in range(1, n_steps + 1):
            metrics.log(step, {"loss": 1.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, n_steps + 1))


def test_without_tensorboard_only_the_json_file_is_written(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
