"""The three renderings of one table."""

import pytest

from trajectory_adacat.plotting.formats import TextTable, latex, markdown, number, text, with_error, with_interval

TABLE = TextTable(
    groups=[("", ["dataset"]), ("a rather long title", ["x", "y"]), ("published", ["AdaCat"])],
    rows=[["hopper", "1.0 ± 0.1", "", "69.2"], ["under_score & 95%", "[1, 2]", "3", ""]],
    notes=["one note of " + "many " * 40 + "words", "another"],
)


def test_text_is_aligned_and_bars_separate_the_groups() -> None:
    lines = text(TABLE).splitlines()
    titles, header, rule, first = lines[:4]
    bars = [i for i, character in enumerate(rule) if character == "+"]
    assert len(bars) == 2
    assert all(line[bar] == "|" for line in (titles, header, first) for bar in bars)
    assert titles.index("a rather long title") == header.index("x") == first.index("1.0")
    assert header.index("AdaCat") == first.index("69.2") == titles.index("published")
    assert all(len(line) <= 80 for line in lines)
    assert "another" in lines


def test_markdown_has_the_groups_title_before_the_column() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| dataset | a rather long title: x | a rather long title: y | published: AdaCat |"
    assert lines[2] == "| hopper | 1.0 ± 0.1 |  | 69.2 |"
    assert {line.count("|") for line in lines[:4]} == {5}


@pytest.mark.parametrize("cell", ["a|b"])
def test_markdown_escapes_the_bar(cell: str) -> None:
    assert "| a\\|b |" in markdown(TextTable([("", ["x"])], [[cell]], []))


def test_latex_escapes_and_spans() -> None:
    table = latex(TABLE)
    assert r"\multicolumn{2}{c}{a rather long title}" in table
    assert r"under\_score \& 95\% & {}[1, 2] & 3 &  \\" in table
    assert r"1.0 $\pm$ 0.1" in table
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert [row.replace(r"\&", "").count("&") for row in rows] == [2, 3, 3, 3]


@pytest.mark.parametrize(
    ("value", "error", "cell"),
    [
        (47.83, 0.22, "47.8 ± 0.2"),  # D4RL's scores keep one decimal
        (1377.4, 10.2, "1377.4 ± 10.2"),
        (47.83, 0.031, "47.830 ± 0.031"),
        (0.013, 0.0012, "0.0130 ± 0.0012"),
        (-0.042, 0.0112, "-0.042 ± 0.011"),
        (0.47, 0.113, "0.47 ± 0.11"),  # a rate of success
        (0.004, 25.3, "0.0 ± 25.3"),
        (0.013, None, "0.013"),
        (0.042, 0.0, "0.042 ± 0.000"),
        (0.0, 0.0, "0.0 ± 0.0"),
        (12.0, None, "12.0"),
        (1.3e-9, 2e-10, "1.3e-09 ± 2e-10"),
        (123456.7, 0.04, "123456.7 ± 0.04"),
        (0.1, 1e-17, "0.10 ± 0.00"),
    ],
)
def test_numbers_show_significant_digits(value: float, error: float | None, cell: str) -> None:
    assert with_error(value, error) == cell


@pytest.mark.parametrize(
    ("value", "interval", "cell"),
    [
        (47.83, (47.41, 48.2), "47.8 [47.4, 48.2]"),
        (0.0131, (0.0112, 0.0152), "0.0131 [0.0112, 0.0152]"),
        (0.5, (0.0, 1.0), "0.50 [0.00, 1.00]"),
        (0.0, (0.0, 0.0), "0.0 [0.0, 0.0]"),
        (0.042, None, "0.042"),
    ],
)
def test_intervals_have_the_decimals_of_their_value(value: float, interval: tuple[float, float], cell: str) -> None:
    assert with_interval(value, interval) == cell


@pytest.mark.parametrize(("value", "cell"), [(0.0134, "0.013"), (1255.63, "1255.6"), (0.0, "0.0"), (-0.5, "-0.50")])
def test_a_number_without_an_error(value: float, cell: str) -> None:
    assert number(value) == cell
