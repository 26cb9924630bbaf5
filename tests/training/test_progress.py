"""The bar of a training, and the course of a metric below it."""

from typing import Any

import pytest

from trajectory_adacat.training.progress import LONGEST, Progress, sparkline


def run(n_steps: int, is_shown: bool = True, watch: bool = True) -> None:
    with Progress(n_steps, 0, "train", is_shown, watch) as progress:
        for step in range(n_steps):
            progress.update()
            progress.show(f"loss {step}", "held-out nll", -float(step))


def test_a_lower_value_is_a_lower_block() -> None:
    assert sparkline([3.0, 2.0, 1.0, 0.0, 7.0]) == "▄▃▂▁█"


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_equal_values_are_low(values: list[float]) -> None:
    assert sparkline(values) == "▁" * len(values)


def test_a_terminal_without_unicode_gets_other_characters() -> None:
    assert sparkline([0.0, 7.0], is_unicode=False).isascii()


def test_a_terminal_shows_the_bar_and_the_course(terminal: Any) -> None:
    with terminal:
        run(8)
    text = terminal.text
    assert "train: 100%" in text
    assert "loss 7" in text
    assert "held-out nll █▇▆▅▄▃▂▁ -0 -> -7" in text


def test_a_long_course_shows_its_end(terminal: Any) -> None:
    with terminal:
        run(LONGEST + 10)
    last = terminal.text.rpartition("held-out nll ")[2]
    assert len(last.partition(" ")[0]) == LONGEST
    assert " -0 -> -49" in last


@pytest.mark.parametrize("options", [{"watch": False}, {"is_shown": False}])
def test_the_course_is_shown_only_if_asked_for(terminal: Any, options: dict[str, bool]) -> None:
    with terminal:
        run(8, **options)
    assert "held-out nll" not in terminal.text


def test_the_course_is_not_shown_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(8)
    captured = capsys.readouterr()
    assert "train: 100%" in captured.err
    assert "held-out nll" not in captured.err + captured.out
