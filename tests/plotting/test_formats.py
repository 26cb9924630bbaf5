"""The three renderings of one table."""

import pytest

from trajectory_adacat.plotting.formats import TextTable, latex, markdown, text

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
