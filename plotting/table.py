"""Tabulate the scores of rollouts.

Run ``trajectory-adacat table logs/``, or this file.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.statistics import RESAMPLES, Summary
from trajectory_adacat.plotting.formats import TextTable, latex, markdown, text
from trajectory_adacat.plotting.published import PublishedScore, load_published
from trajectory_adacat.plotting.summary import Row, columns_of, gather, names_of, overall

Published = Literal["paper", "all", "none"]
CSV_HEADER = (
    *("dataset", "qualifiers", "measure", "kind", "method"),
    *("mean", "standard_error", "n", "iqm", "iqm_low", "iqm_high", "source"),
)
QUALIFIER_NOTES = {
    "unverified": "the data was identified neither as the official file of its name nor as collected by this package.",
    "native dynamics": "the simulator's own, not those of D4RL's data and published scores.",
}
PUBLISHED_GROUPS: dict[Published, tuple[str, ...]] = {"paper": ("paper",), "all": ("paper", "peers"), "none": ()}


class TableParser(CommandParser):
    """Tabulate the rollouts' normalized scores (0 to 100), or returns where no reference returns are known."""

    paths: Positional[list[Path]] = [Path("logs")]  # results files, or folders of such files
    format: Literal["text", "markdown", "latex", "csv"] | None = None  # by default from --out's ending, else text
    out: Path | None = None  # file to write instead of printing
    published: Published = "paper"  # published scores on the same dataset: the paper's table, all, or none


def main(argv: Sequence[str] | None = None) -> None:
    """Print or write the table that the command line asks for."""
    arguments = TableParser().parse(argv)
    endings = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
    by_ending = endings.get(arguments.out.suffix, "text") if arguments.out else "text"
    table = tabulate(arguments.paths, arguments.format or by_ending, arguments.published)
    if arguments.out is None:
        print(table, end="")
        return
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(table, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {arguments.out} cannot be written: {error.strerror}.") from error
    print(arguments.out)


def tabulate(paths: Iterable[Path], form: str = "text", published: Published = "paper") -> str:
    """Return the table of all results in ``paths`` as ``text``, ``markdown``, ``latex`` or ``csv``.

    Raises:
        InputError: if there are no results, one cannot be read, or two are of the same run.
    """
    rows = gather(load_results(paths), load_published(PUBLISHED_GROUPS[published]))
    forms: dict[str, Callable[[TextTable], str]] = {"text": text, "markdown": markdown, "latex": latex}
    return csv_lines(rows) if form == "csv" else forms[form](text_table(rows))


def text_table(rows: Sequence[Row]) -> TextTable:
    """Return two lines for each dataset, mean with standard error and IQM with interval; references stand apart."""
    ours, recorded = columns_of(rows), names_of(row.recorded for row in rows)
    published = names_of(row.published for row in rows)
    lines = []
    for row in rows:
        references = [*(_recorded(row, name) for name in recorded), *(_published(row, name) for name in published)]
        lines += _two_lines(row.label, row.measure, [row.summaries.get(column) for column in ours], references)
    for label, summaries in overall(rows).items():
        blank = [""] * len(recorded + published)
        lines += _two_lines(label, "score", [summaries.get(column) for column in ours], blank)
    groups = [("", ["dataset", "measure"]), ("this code", ours), ("references", recorded), ("published", published)]
    return TextTable([group for group in groups if group[1]], lines, _notes(rows))


def csv_lines(rows: Sequence[Row]) -> str:
    """Return CSV with one line for each column of a row, its numbers unrounded."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)

    def summary_line(head: Sequence[str], column: str, s: Summary) -> None:
        writer.writerow(
            [*head, "measured", column, s.mean, s.standard_error, s.n, s.iqm, *(s.interval or ("", "")), ""]
        )

    for row in rows:
        head = [row.dataset, "; ".join(row.qualifiers), row.measure]
        for column in columns_of([row]):
            summary_line(head, column, row.summaries[column])
        for name, values in row.recorded.items():
            for value in values:
                writer.writerow([*head, "reference", name, value, "", "", "", "", "", ""])
        for score in row.published.values():
            writer.writerow(
                [*head, "published", score.method, score.mean, score.standard_error, "", "", "", "", score.source]
            )
    for label, summaries in overall(rows).items():
        for column, summary in summaries.items():
            summary_line([label, "", "score"], column, summary)
    return file.getvalue()


def _two_lines(label: str, measure: str, ours: Sequence[Summary | None], references: Sequence[str]) -> list[list[str]]:
    return [
        [label, f"{measure}, mean ± SE (n)", *(_mean(summary) for summary in ours), *references],
        ["", f"{measure}, IQM [95%]", *(_iqm(summary) for summary in ours), *[""] * len(references)],
    ]


def _mean(summary: Summary | None) -> str:
    if summary is None:
        return ""
    error = "" if summary.standard_error is None else f" ± {summary.standard_error:.1f}"
    return f"{summary.mean:.1f}{error} ({summary.n})"


def _iqm(summary: Summary | None) -> str:
    if summary is None:
        return ""
    interval = "" if summary.interval is None else f" [{summary.interval[0]:.1f}, {summary.interval[1]:.1f}]"
    return f"{summary.iqm:.1f}{interval}"


def _recorded(row: Row, name: str) -> str:
    return " / ".join(f"{value:.1f}" for value in row.recorded.get(name, ()))


def _published(row: Row, name: str) -> str:
    score: PublishedScore | None = row.published.get(name)
    if score is None:
        return ""
    return f"{score.mean:.1f}" + ("" if score.standard_error is None else f" ± {score.standard_error:g}")


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [
        "score: normalized, 0 = D4RL's random policy, 100 = its expert. SE: sample standard deviation over the n "
        "pooled runs (training seeds x rollouts) / sqrt(n). IQM: interquartile mean with a 95% stratified bootstrap "
        f"interval ({RESAMPLES} resamples)."
    ]
    used = {qualifier for row in rows for qualifier in row.qualifiers}
    notes += [f"{qualifier}: {note}" for qualifier, note in QUALIFIER_NOTES.items() if qualifier in used]
    sources: dict[str, list[str]] = {}
    for row in rows:
        for score in row.published.values():
            methods = sources.setdefault(score.source, [])
            methods += [] if score.method in methods else [score.method]
    notes += [f"published {', '.join(methods)}: {source}." for source, methods in sources.items()]
    return notes


if __name__ == "__main__":
    run_command(main)
