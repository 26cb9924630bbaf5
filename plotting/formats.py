"""Format a table of text cells for a terminal, in Markdown or in LaTeX."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TextTable:
    """Cells under grouped columns.

    Attributes:
        groups: title and column names of each group, from left to right.
        rows: the cells of each row, one for each column of all groups.
        notes: sentences below the table.
    """

    groups: Sequence[tuple[str, Sequence[str]]]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return [column for _, columns in self.groups for column in columns]


def text(table: TextTable) -> str:
    """Format for a terminal: aligned columns, with a bar between groups."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    spans, start = [], 0
    for title, columns in table.groups:
        span = slice(start, start + len(columns))
        widths[span.stop - 1] += max(
            0, len(title) - _width(widths[span])
        )  # a long title widens the group's last column
        spans.append(span)
        start = span.stop

    def line(cells: Sequence[str]) -> str:
        parts = ["  ".join(cell.ljust(width) for cell, width in zip(cells[s], widths[s], strict=True)) for s in spans]
        return " | ".join(parts).rstrip()

    titles = " | ".join(t.ljust(_width(widths[s])) for (t, _), s in zip(table.groups, spans, strict=True)).rstrip()
    rule = "-+-".join("-" * _width(widths[s]) for s in spans)
    body = [titles, line(table.columns), rule, *map(line, table.rows)]
    notes = [textwrap.fill(note, max(80, len(rule)), subsequent_indent="  ") for note in table.notes]
    return "\n".join([*body, "", *notes]) + "\n"


def markdown(table: TextTable) -> str:
    """Format in Markdown, with the group's title before each column name."""
    header = [f"{title}: {column}" if title else column for title, columns in table.groups for column in columns]
    lines = [header, ["---"] * len(header), *table.rows]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*body, "", *(f"- {note}" for note in table.notes)]) + "\n"


def latex(table: TextTable) -> str:
    """Format in LaTeX for the booktabs package."""
    titles = [rf"\multicolumn{{{len(columns)}}}{{c}}{{{_escape(title)}}}" for title, columns in table.groups]
    lines = [
        r"\begin{tabular}{" + "l" * len(table.columns) + "}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        " & ".join(map(_escape, table.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_escape, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*lines, *(f"% {note}" for note in table.notes)]) + "\n"


SIGNIFICANT = 2  # digits that a small number shows at least
LONGEST = 6  # significant digits, or decimals, of a number in a cell
ROUNDING = 1e-9  # relative size below which an error is one of the floating point


def number(value: float, error: float | None = None) -> str:
    """Format a value for a cell: with one decimal, or with two significant digits where one decimal would lose them.

    Args:
        value: the number.
        error: its uncertainty, which then says where the digits of the value end.
    """
    return _fixed(value, _decimals(value, error))


def with_error(value: float, error: float | None) -> str:
    """Format a value and its standard error with the same decimals: ``47.8 ± 0.2``, ``0.0130 ± 0.0012``."""
    if error is None:
        return number(value)
    shown = _fixed(error, _decimals(value, error))
    lost = error > ROUNDING * abs(value) and float(shown) == 0.0
    return f"{number(value, error)} ± {f'{error:.1g}' if lost else shown}"


def with_interval(value: float, interval: tuple[float, float] | None) -> str:
    """Format a value and its interval with the same decimals: ``47.8 [47.4, 48.2]``."""
    if interval is None:
        return number(value)
    decimals = _decimals(value, (interval[1] - interval[0]) / 2.0)
    low, high = (_fixed(end, decimals) for end in interval)
    return f"{_fixed(value, decimals)} [{low}, {high}]"


def _fixed(value: float, decimals: int) -> str:
    if decimals > LONGEST and value:
        return f"{value:.{SIGNIFICANT + 1}g}"
    return f"{value:.{min(decimals, LONGEST)}f}"


def _decimals(value: float, error: float | None) -> int:
    """Return the number of decimals, at least 1; more than ``LONGEST`` stand for a very small number."""
    if not error or error <= ROUNDING * abs(value):
        return 1 if abs(value) >= 1.0 else max(1, _places(value, SIGNIFICANT))
    if abs(value) >= 1.0:
        needed = 1 if error >= 0.1 else _places(error, SIGNIFICANT)
        return max(1, min(needed, _places(value, LONGEST)))
    return max(1, _places(error, SIGNIFICANT))


def _places(value: float, digits: int) -> int:
    """Return the number of decimals that show so many significant digits of a value."""
    return digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2]) if value else 1


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}


def _escape(cell: str) -> str:
    escaped = "".join(LATEX_SPECIAL.get(character, character) for character in cell)
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped  # after \\ LaTeX reads a bracket as an argument
