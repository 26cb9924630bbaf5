"""The latency of plans by a critic: of random weights in a preset's sizes, and of trained models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import planning
from benchmarks.latency import Latency, LatencyCase, Stopwatch, make_planner, measure_latency

Make = Callable[..., Path]


def check(latency: Latency) -> None:
    """Every part takes some of the time."""
    shares = (latency.context, latency.tokens, latency.critic)
    assert latency.total > 0.0
    assert min(shares) > 0.0
    assert sum(shares) < 1.0
    assert latency.candidates == 4


def test_random_weights_have_the_sizes_and_the_search_of_the_preset() -> None:
    case = LatencyCase("hopper-medium-collected", 2, "cpu")
    planner = make_planner(case, Stopwatch())
    assert (planner.model.config.n_layer, planner.model.config.width) == (3, 64)
    assert (planner.config.search.horizon, planner.config.search.beam_width) == (1, 2)
    check(measure_latency(case, 1, 1))


def test_a_trained_model_and_its_critic_are_timed(
    make_training: Make, make_critic: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, critic = make_training(), make_critic()
    check(measure_latency(LatencyCase("hopper-medium-collected", 1, "cpu", model, critic), 1, 1))
    monkeypatch.setattr(planning, "call_apart", lambda function, *arguments: function(*arguments))
    paths = ["--checkpoint", str(model), "--critic", str(critic)]
    planning.main(["--tasks", "--environments", "1", "3", "--repeats", "1", *paths])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| hopper")]
    assert [(row[1], row[2]) for row in rows] == [("1", "4"), ("3", "4")]
