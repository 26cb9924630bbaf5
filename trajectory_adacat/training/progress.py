"""What a training shows in the terminal: a bar, and the course of one metric if asked for."""

import sys
from collections.abc import Sequence
from typing import Self

from tqdm import tqdm

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-~=*%#"
LONGEST = 40  # characters of a sparkline


class Progress:
    """A bar of steps. In a terminal a second line may show the course of one metric.

    Args:
        n_steps: steps of the whole training.
        step: steps that are done.
        name: before the bar.
        is_shown: whether to show anything.
        watch: whether to show the second line.
    """

    def __init__(self, n_steps: int, step: int, name: str, is_shown: bool, watch: bool = False) -> None:
        self._bar = tqdm(total=n_steps, initial=step, desc=name, unit="step", disable=not is_shown)
        is_watched = watch and is_shown and sys.stderr.isatty()
        self._line = tqdm(position=1, bar_format="{desc}") if is_watched else None
        self._values: list[float] = []

    def update(self) -> None:
        """Count one step."""
        self._bar.update()

    def show(self, text: str, name: str, value: float) -> None:
        """Show a text behind the bar, and a value that becomes part of the second line.

        Args:
            text: behind the bar.
            name: of the value.
            value: the watched metric.
        """
        self._bar.set_postfix_str(text)
        if self._line is not None:
            self._values.append(value)
            course = sparkline(self._values[-LONGEST:], "utf" in (sys.stderr.encoding or "").lower())
            self._line.set_description_str(f"{name} {course} {self._values[0]:.4g} -> {value:.4g}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.close()
        self._bar.close()


def sparkline(values: Sequence[float], is_unicode: bool = True) -> str:
    """Return a character for each value: the lower, the smaller."""
    blocks = BLOCKS if is_unicode else ASCII_BLOCKS
    low, high = min(values), max(values)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in values)
