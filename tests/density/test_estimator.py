"""The density of one's own data."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.density import AdaCatDensity
from trajectory_adacat.errors import InputError

SMALL = {"k": 8, "hidden": 16, "frequencies": 2, "batch_size": 64, "max_steps": 300, "learning_rate": 1e-2}


def table(count: int = 1500, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    first = generator.normal(size=count)
    return np.stack((10 + 3 * first, first + 0.1 * generator.normal(size=count)), axis=1)


@pytest.fixture(scope="module")
def fitted() -> AdaCatDensity:
    """A small fitted density."""
    return AdaCatDensity(**SMALL).fit(table())


@pytest.mark.slow
def test_the_example_of_the_page_has_ten_lines_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "density.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 10
    exec(example, {})
    assert "[" in capsys.readouterr().out


def test_it_beats_the_independent_normal_density(fitted: AdaCatDensity) -> None:
    test = table(seed=1)
    independent = -0.5 * np.log(2 * np.pi * test.var(axis=0)) - 0.5
    assert fitted.score_samples(test).mean() > independent.sum() + 0.3


def test_a_single_column_integrates_to_one_over_the_line() -> None:
    density = AdaCatDensity(**{**SMALL, "max_steps": 20}).fit(table()[:, :1])
    low, high = (float(bound[0]) for bound in (density.low_, density.high_))
    span = high - low
    inside = low + span * (np.arange(20_000) + 0.5) / 20_000
    assert np.exp(density.score_samples(inside[:, None])).mean() * span == pytest.approx(
        1 - density._bounds.outside, abs=2e-3
    )
    share = (np.arange(20_000) + 0.5) / 20_000  # d = s / (1 - s) maps the outside to [0, 1]
    distance, slope = share / (1 - share), 1 / (1 - share) ** 2
    for tail in (low - span * distance, high + span * distance):
        mass = (np.exp(density.score_samples(tail[:, None])) * slope).mean() * span
        assert mass == pytest.approx(density._bounds.outside / 2, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(row=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
def test_a_row_scores_finite_and_the_sum_of_its_conditionals(fitted: AdaCatDensity, row: list[float]) -> None:
    conditionals = fitted.score_conditionals([row])
    assert np.isfinite(conditionals).all()
    assert fitted.score_samples([row])[0] == pytest.approx(conditionals.sum())


def test_samples_lie_within_the_bounds_and_repeat(fitted: AdaCatDensity) -> None:
    sample = fitted.sample(300, random_state=3)
    assert sample.shape == (300, 2)
    assert (sample >= fitted.low_).all()
    assert (sample <= fitted.high_).all()
    assert (sample == fitted.sample(300, random_state=3)).all()
    assert not (sample == fitted.sample(300, random_state=4)).any()
    assert np.corrcoef(sample.T)[0, 1] > 0.8


def test_a_fit_repeats(fitted: AdaCatDensity) -> None:
    again = AdaCatDensity(**SMALL).fit(table())
    assert (again.score_samples(table(seed=1)) == fitted.score_samples(table(seed=1))).all()


def test_the_validation_likelihood_is_in_the_datas_units(fitted: AdaCatDensity) -> None:
    assert fitted.validation_nll_ == pytest.approx(-fitted.score_samples(table(seed=1)).mean(), abs=0.4)
    wider = AdaCatDensity(**SMALL).fit(table() * 8)  # a power of 2: the scaled rows stay equal
    assert wider.validation_nll_ == pytest.approx(fitted.validation_nll_ + 2 * np.log(8), abs=1e-5)


def test_a_training_without_improvement_stops_early_but_not_before_the_smoothing_is_narrow() -> None:
    density = AdaCatDensity(**{**SMALL, "learning_rate": 1.0, "patience": 2}).fit(table(60))
    assert 0.6 * SMALL["max_steps"] < density.n_steps_ < SMALL["max_steps"]


def test_parameters_are_read_and_set() -> None:
    density = AdaCatDensity(5, hidden=7)
    assert AdaCatDensity(**density.get_params()).get_params() == density.get_params()
    assert density.set_params(k=6).k == 6
    with pytest.raises(InputError, match="'bins'"):
        density.set_params(bins=3)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.where(table() > 12, np.nan, table()), "Column 0 has missing"),
        (np.round(table()), "Column 0 holds whole numbers"),
        (table() * [1, 0], "Column 1 has a single value"),
        (table()[:, 0], "two dimensions"),
        (table(5), "at least 10 rows"),
        ([["a", "b"]], "table of numbers"),
        ([[1.5, 2.5], [3.5]], "table of numbers"),
        (table() * 1j, "Complex data not supported"),
        (table()[:, :0], "0 feature"),
    ],
)
def test_bad_tables_are_refused(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdaCatDensity(**SMALL).fit(x)


def test_scoring_needs_a_fit_and_the_same_columns(fitted: AdaCatDensity) -> None:
    with pytest.raises(InputError, match="not fitted"):
        AdaCatDensity().score_samples(table())
    with pytest.raises(InputError, match="X has 3 features"):
        fitted.score_samples(np.zeros((2, 3)))


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "2"])
def test_the_number_of_samples_is_a_whole_number_from_1(fitted: AdaCatDensity, n_samples: Any) -> None:
    with pytest.raises(InputError, match="n_samples must be a whole number of at least 1"):
        fitted.sample(n_samples)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"frequencies": -1}, "frequencies must be a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"patience": 0}, "patience must be"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and above 0"),
        ({"smoothing": 0.0}, "^smoothing must be finite and above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1"),
        ({"validation_fraction": 0.98}, "leaves 6 of 300 rows for training.*lower validation_fraction"),
        ({"random_state": "0"}, "random_state must be"),
        ({"learning_rate": 1e30}, r"diverged.*lower learning_rate than 1e\+30"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        AdaCatDensity(**{**SMALL, "max_steps": 5, **parameters}).fit(table(300))
    assert "--" not in str(caught.value)


def test_a_random_state_or_numpys_global_one_gives_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_and_sample(random_state: np.random.RandomState | None) -> tuple[float, list[float], list[float]]:
        density = AdaCatDensity(**{**SMALL, "max_steps": 5}, random_state=random_state).fit(table(100))
        return density.validation_nll_, density.sample(1)[0].tolist(), density.sample(1)[0].tolist()

    first, again = (fit_and_sample(np.random.RandomState(7)) for _ in range(2))
    assert first == again
    assert first[1] != first[2]
    monkeypatch.setattr(np.random, "randint", np.random.RandomState(7).randint)
    assert fit_and_sample(None) == first
    assert fit_and_sample(None) != first


def test_samples_of_a_random_state_repeat(fitted: AdaCatDensity) -> None:
    first, again = (fitted.sample(3, random_state=np.random.RandomState(2)) for _ in range(2))
    assert (first == again).all()
    assert not (first == fitted.sample(3)).any()
