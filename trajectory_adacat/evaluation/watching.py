"""What planning shows in the terminal: one bar for all rollouts, or one for each."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from tqdm import tqdm

from trajectory_adacat.evaluation.rollout import EpisodeResult


class View(Protocol):
    """Shows rollouts while they run."""

    def show(self, results: Sequence[EpisodeResult]) -> None:
        """Show all results so far."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End."""


class OneBar:
    """The length of the shortest live rollout, and at times the mean return.

    Args:
        max_length: steps after which a rollout is cut.
        every: steps between two updates of the mean return.
        is_shown: whether to show anything.
    """

    def __init__(self, max_length: int, every: int, is_shown: bool) -> None:
        self._bar = tqdm(total=max_length, desc="plan", unit="step", disable=not is_shown)
        self._every = every

    def show(self, results: Sequence[EpisodeResult]) -> None:
        """Show all results so far."""
        live = [result.length for result in results if not result.ended]
        step = min(live) if live else max(result.length for result in results)
        if step // self._every > self._bar.n // self._every:
            sound = [result.return_ for result in results if result.error is None]
            self._bar.set_postfix_str(f"{len(live)} live, mean return {np.mean(sound):.5g}" if sound else "all failed")
        self._bar.update(step - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class BarOfEach:
    """For each rollout its return so far, what the last plan promises, its speed and its latest end.

    Args:
        seeds: seeds of the rollouts.
        max_length: steps after which a rollout is cut.
    """

    def __init__(self, seeds: Sequence[int], max_length: int) -> None:
        self._bars = [
            tqdm(total=max_length, desc=f"seed {seed}", unit="step", position=i) for i, seed in enumerate(seeds)
        ]

    def show(self, results: Sequence[EpisodeResult]) -> None:
        """Show all results so far, in the order of the seeds."""
        for bar, result in zip(self._bars, results, strict=True):
            if result.length > bar.n or result.error is not None:
                bar.set_postfix_str(_state(result), refresh=result.ended)
                bar.update(result.length - bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars:
            bar.close()


def _state(result: EpisodeResult) -> str:
    if result.error is not None:
        return "failed"
    promise = "" if result.promise is None else f", planned {result.promise:.4g}"
    end = ", terminal" if result.terminated else ", cut" if result.truncated else ""
    return f"return {result.return_:.5g}{promise}{end}"
