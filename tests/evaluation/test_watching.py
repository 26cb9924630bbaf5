"""The bar of each rollout."""

from typing import Any

from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.evaluation.watching import BarOfEach, OneBar


def test_each_rollout_has_a_bar_with_its_return_its_promise_and_its_end(terminal: Any) -> None:
    first, second, third = (EpisodeResult(seed) for seed in (4, 5, 6))
    with terminal, BarOfEach([4, 5, 6], 10) as view:
        for step in range(1, 4):
            for result in (first, second, third):
                result.length, result.return_, result.promise = step, 1.5 * step, 20.25
            first.terminated = step == 3
            second.truncated = step == 3
            third.error = "broken" if step == 3 else None
            view.show([first, second, third])
    text = terminal.text
    for line in ("seed 4:  30%", "seed 5:  30%", "seed 6:  30%", "3/10", "step/s"):
        assert line in text
    assert "return 4.5, planned 20.25, terminal" in text
    assert "return 4.5, planned 20.25, cut" in text
    assert "failed" in text


def test_one_bar_follows_the_shortest_live_rollout(terminal: Any) -> None:
    short, long = EpisodeResult(0, length=2, return_=1.0), EpisodeResult(1, length=6, return_=3.0)
    with terminal, OneBar(10, 2, True) as view:
        view.show([short, long])
        assert "2 live, mean return 2" in str(view._bar)
        short.terminated = True
        view.show([short, long])
    text = terminal.text
    assert "plan:  60%" in text
    assert "1 live, mean return 2" in text
