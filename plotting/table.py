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
from trajectory_adacat.plotting.formats import TextTable, latex, markdown, number, text, with_error, with_interval
from trajectory_adacat.plotting.published import PublishedScore, load_published
from trajectory_adacat.plotting.summary import Row, columns_of, gather, names_of, overall

Published = Literal["paper", "all", "none"]
CSV_HEADER = (
    *("dataset", "qualifiers", "measure", "kind", "method"),
    *("mean", "standard_error", "mean_low", "mean_high", "n", "trainings", "iqm", "iqm_low", "iqm_high", "source"),
)
QUALIFIER_NOTES = {
    "unverified": "the data was identified neither as the official file of its name nor as collected by this package.",
    "native dynamics": "the simulator's own, not those of D4RL's data and published scores.",
}
ELSEWHERE_NOTE = (
    "in <environment>: not the dataset's own environment, or one with other rewards or options, so that returns are "
    "shown instead of scores."
)
DATA_NOTE = (
    "data <hash>: files of one name with different bytes, by the start of their SHA-256; it is unknown for results of "
    "earlier versions."
)
PUBLISHED_GROUPS: dict[Published, tuple[str, ...]] = {"paper": ("paper",), "all": ("paper", "peers"), "none": ()}


class TableParser(CommandParser):
    """Tabulate the rollouts' normalized scores (0 to 100), or returns where no reference returns hold."""

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
    """Return lines for each dataset: mean with standard error, intervals of mean and IQM; references stand apart."""
    ours, recorded = columns_of(rows), names_of(row.recorded for row in rows)
    published = names_of(row.published for row in rows)
    lines = []
    for row in rows:
        references = [*(_recorded(row, name) for name in recorded), *(_published(row, name) for name in published)]
        lines += _lines(row.label, row.measure, [row.summaries.get(column) for column in ours], references)
    for label, summaries in overall(rows).items():
        blank = [""] * len(recorded + published)
        lines += _lines(label, "score", [summaries.get(column) for column in ours], blank)
    groups = [("", ["dataset", "measure"]), ("this code", ours), ("references", recorded), ("published", published)]
    return TextTable([group for group in groups if group[1]], lines, _notes(rows))


def csv_lines(rows: Sequence[Row]) -> str:
    """Return CSV with one line for each column of a row, its numbers unrounded."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)

    def summary_line(head: Sequence[str], column: str, s: Summary) -> None:
        none = ("", "")
        mean = [s.mean, s.standard_error, *(s.mean_interval or none)]
        writer.writerow([*head, "measured", column, *mean, s.n, s.trainings, s.iqm, *(s.interval or none), ""])

    for row in rows:
        head = [row.dataset, "; ".join(row.qualifiers), row.measure]
        for column in columns_of([row]):
            summary_line(head, column, row.summaries[column])
        for name, values in row.recorded.items():
            for value in values:
                writer.writerow([*head, "reference", name, value, *[""] * 9])
        for score in row.published.values():
            writer.writerow(
                [*head, "published", score.method, score.mean, score.standard_error, *[""] * 7, score.source]
            )
    for label, summaries in overall(rows).items():
        for column, summary in summaries.items():
            summary_line([label, "", "score"], column, summary)
    return file.getvalue()


def _lines(label: str, measure: str, ours: Sequence[Summary | None], references: Sequence[str]) -> list[list[str]]:
    found = [summary for summary in ours if summary is not None]
    blank = [""] * len(references)
    lines = [[label, f"{measure}, mean ± SE{_unit(found)}", *(map(_mean, ours)), *references]]
    if any(summary.trainings > 1 for summary in found):
        lines.append(["", f"{measure}, mean [95%]", *map(_mean_interval, ours), *blank])
    return [*lines, ["", f"{measure}, IQM [95%]", *map(_iqm, ours), *blank]]


def _unit(summaries: Sequence[Summary]) -> str:
    """Say what the standard errors of a line are over, if it is the same for all."""
    numbers = {min(summary.trainings, 2) for summary in summaries if summary.trainings}
    names = {(): " over rollouts", (1,): " over rollouts of one training", (2,): " over trainings"}
    return names.get(tuple(numbers), "")


def count(summary: Summary) -> str:
    """Return the numbers of trainings and rollouts: ``3 trainings x 10``, ``one training x 10``, ``10 rollouts``."""
    tasks = f"{summary.tasks} x " if summary.tasks > 1 else ""
    each = summary.n // summary.tasks
    rollouts = f"{each} rollout" if each == 1 else f"{each} rollouts"
    if summary.trainings == 0:
        return f"{tasks}{rollouts}"
    trainings = "one training" if summary.trainings == 1 else f"{summary.trainings} trainings"
    return f"{tasks}{trainings}" + (f", {rollouts}" if summary.per_training is None else f" x {summary.per_training}")


def _mean(summary: Summary | None) -> str:
    return "" if summary is None else f"{with_error(summary.mean, summary.standard_error)} ({count(summary)})"


def _mean_interval(summary: Summary | None) -> str:
    return "" if summary is None else with_interval(summary.mean, summary.mean_interval)


def _iqm(summary: Summary | None) -> str:
    return "" if summary is None else with_interval(summary.iqm, summary.interval)


def _recorded(row: Row, name: str) -> str:
    return " / ".join(map(number, row.recorded.get(name, ())))


def _published(row: Row, name: str) -> str:
    score: PublishedScore | None = row.published.get(name)
    if score is None:
        return ""
    return f"{score.mean:.1f}" + ("" if score.standard_error is None else f" ± {score.standard_error:g}")


def _notes(rows: Sequence[Row]) -> list[str]:
    summaries = [summary for row in rows for summary in row.summaries.values()]
    notes = [
        "score: normalized, 0 = D4RL's random policy, 100 = its expert. SE: sample standard deviation / sqrt(number), "
        "over the means of the trainings where there are several, else over rollouts. IQM: interquartile mean over all "
        f"rollouts. [95%]: bootstrap interval ({RESAMPLES} resamples of trainings, then of rollouts within each)."
    ]
    if any(summary.trainings == 1 for summary in summaries):
        notes.append(
            "one training: SE and interval are over the rollouts of that training. They say nothing about another "
            "training of the method."
        )
    used = {qualifier for row in rows for qualifier in row.qualifiers}
    notes += [f"{qualifier}: {note}" for qualifier, note in QUALIFIER_NOTES.items() if qualifier in used]
    if any(qualifier.startswith("in ") for qualifier in used):
        notes.append(ELSEWHERE_NOTE)
    if any(qualifier.startswith("data ") for qualifier in used):
        notes.append(DATA_NOTE)
    sources: dict[str, list[str]] = {}
    for row in rows:
        for score in row.published.values():
            methods = sources.setdefault(score.source, [])
            methods += [] if score.method in methods else [score.method]
    notes += [f"published {', '.join(methods)}: {source}." for source, methods in sources.items()]
    return notes


if __name__ == "__main__":
    run_command(main)
