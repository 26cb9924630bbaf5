"""The toy experiments on a small scale, and the findings that their figures must show."""

import json
from pathlib import Path

import pytest

from trajectory_adacat.density.toy import ToySettings, collapse, mixture, spirals, total_steps
from trajectory_adacat.errors import InputError

SMALL = ToySettings(
    seeds=(7, 8), train_points=4000, test_points=2000, batch_size=128, uniform_bins=(8,), spiral_bins=8, spiral_steps=5
)


def test_spirals_give_a_likelihood_per_seed_and_normalized_images() -> None:
    steps: list[int] = []
    results, images = spirals(SMALL, lambda: steps.append(1))
    assert len(steps) == total_steps(SMALL, [1]) == 20
    for summary in results["negative_log_likelihood"].values():
        assert len(summary["values"]) == 2
        assert summary["mean"] == pytest.approx(sum(summary["values"]) / 2)
        assert summary["standard_error"] == pytest.approx(abs(summary["values"][0] - summary["values"][1]) / 2)
    assert set(images) == {"data", "adacat_8", "uniform_8"}
    for image in images.values():
        assert image.mean() == pytest.approx(1, abs=0.02)


def test_adaptive_widths_fit_a_mixture_of_two_scales_better() -> None:
    settings = ToySettings(seeds=(3,), train_points=20_000, test_points=5000, interval_steps=400, smoothing=0.02)
    results = mixture(settings, lambda: None)["negative_log_likelihood"]
    assert results["target"]["mean"] < results["adacat"]["mean"] < results["equal_width"]["mean"] - 0.05
    assert results["adacat"]["standard_error"] is None


def test_bins_collapse_without_the_analytic_objective() -> None:
    settings = ToySettings(
        seeds=(3,), train_points=20_000, test_points=5000, collapse_bins=20, interval_steps=500, batch_size=256,
        interval_learning_rate=0.05,
    )  # fmt: skip
    results = collapse(settings, lambda: None)
    collapsed = {name: summary["mean"] for name, summary in results["collapsed_bins"].items()}
    assert collapsed["analytic"] == collapsed["annealed"] == 0
    assert min(collapsed["plain"], collapsed["single"]) >= 10
    likelihoods = {name: summary["mean"] for name, summary in results["negative_log_likelihood"].items()}
    smoothed = max(likelihoods["analytic"], likelihoods["annealed"])
    assert smoothed < min(likelihoods["plain"], likelihoods["single"]) - 0.5
    for stages in results["stages"].values():
        assert [stage["step"] for stage in stages] == [10, 50, 150, 500]
        assert len(stages[0]["density"]) == 20


def test_the_same_seed_gives_the_same_results() -> None:
    settings = ToySettings(seeds=(5,), train_points=500, test_points=500, interval_steps=10)
    assert mixture(settings, lambda: None) == mixture(settings, lambda: None)


@pytest.mark.parametrize("wrong", [{"seeds": ()}, {"smoothing": 0.0}, {"uniform_bins": (16, -1)}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(wrong))}"):
        ToySettings(**wrong)  # type: ignore[arg-type]


def test_committed_results_agree_with_the_paper() -> None:
    folder = Path(__file__).parents[2] / "results" / "toy"
    results = {figure: json.loads((folder / f"figure{figure}.json").read_text())["results"] for figure in (1, 2, 3)}
    spiral = results[1]["negative_log_likelihood"]
    pairs = list(zip(spiral["adacat_16"]["values"], spiral["uniform_16"]["values"], strict=True))
    assert len(pairs) == 5
    assert all(adaptive < uniform for adaptive, uniform in pairs)
    collapsed = results[3]["collapsed_bins"]
    assert max(collapsed["analytic"]["values"]) <= 2
    assert min(collapsed["plain"]["values"] + collapsed["single"]["values"]) > results[3]["bins"] / 2
