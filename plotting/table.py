"""Tabulate the scores of rollouts.

Run ``trajectory-adacat table logs/``, or this file.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.statistics import RESAMPLES, Improvement, Summary
from trajectory_adacat.plotting.formats import TextTable, latex, markdown, number, text, with_error, with_interval
from trajectory_adacat.plotting.published import PublishedScore, load_published
from trajectory_adacat.plotting.splitting import Names
from trajectory_adacat.plotting.summary import (
    Row,
    columns_of,
    gather,
    names_of,
    opponent,
    overall,
    overall_improvements,
)
from trajectory_adacat.plotting.writing import writing

Published = Literal["paper", "all", "none"]
Layout = Literal["wide", "long"]
CSV_HEADER = (
    *("dataset", "qualifiers", "measure", "kind", "method"),
    *("mean", "standard_error", "mean_low", "mean_high", "n", "trainings", "iqm", "iqm_low", "iqm_high", "source"),
    *("held_out_nll", "opponent", "opponent_better", "opponent_better_low", "opponent_better_high"),
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
IMPROVEMENT_NOTE = (
    "P(AdaCat higher): probability that a training of AdaCat scores higher, by its mean over rollouts, than one of "
    "this method (Agarwal et al. 2021); by rollouts where a method has no second training. AdaCat is the column with "
    "the same text in parentheses, else the one without any."
)
LIKELIHOOD_NOTE = (
    "held-out NLL: negative log-likelihood of held-out data in nats per dimension, in the data's own units, at the "
    "checkpoint that planned; the mean over trainings."
)
WIDEST = 4  # methods that stand side by side by default
PUBLISHED_GROUPS: dict[Published, tuple[str, ...]] = {"paper": ("paper",), "all": ("paper", "peers"), "none": ()}


class TableParser(CommandParser):
    """Tabulate the rollouts' normalized scores (0 to 100), or returns where no reference returns hold."""

    paths: Positional[list[Path]] = [Path("logs")]  # results files, or folders of such files
    format: Literal["text", "markdown", "latex", "csv"] | None = None  # by default from --out's ending, else text
    out: Path | None = None  # file to write instead of printing
    published: Published = "paper"  # published scores on the same dataset: the paper's table, all, or none
    layout: Layout | None = None  # methods side by side (wide), or one below another (long); by default by their number
    names: Names = "settings"  # columns of one parameterization: by the settings that differ, or by their folders


def main(argv: Sequence[str] | None = None) -> None:
    """Print or write the table that the command line asks for."""
    arguments = TableParser().parse(argv)
    endings = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
    by_ending = endings.get(arguments.out.suffix, "text") if arguments.out else "text"
    form = arguments.format or by_ending
    table = tabulate(arguments.paths, form, arguments.published, arguments.layout, arguments.names)
    if arguments.out is None:
        print(table, end="")
        return
    with writing(arguments.out) as out:
        out.write_text(table, encoding="utf-8")


def tabulate(
    paths: Iterable[Path],
    form: str = "text",
    published: Published = "paper",
    layout: Layout | None = None,
    names: Names = "settings",
) -> str:
    """Return the table of all results in ``paths`` as ``text``, ``markdown``, ``latex`` or ``csv``.

    Args:
        paths: results files, or folders of such files.
        form: of the table.
        published: which published scores it shows.
        layout: of the methods; by default side by side for up to `WIDEST`. CSV has one layout.
        names: see `gather`.

    Raises:
        InputError: if there are no results, one cannot be read, or two are of the same run.
    """
    rows = gather(load_results(paths), load_published(PUBLISHED_GROUPS[published]), names)
    if form == "csv":
        return csv_lines(rows)
    forms: dict[str, Callable[[TextTable], str]] = {"text": text, "markdown": markdown, "latex": latex}
    return forms[form](text_table(rows, layout))


def text_table(rows: Sequence[Row], layout: Layout | None = None) -> TextTable:
    """Return the cells of the table, by default with the methods side by side for up to `WIDEST`."""
    layout = layout or ("wide" if len(columns_of(rows)) <= WIDEST else "long")
    return wide_table(rows) if layout == "wide" else long_table(rows)


@dataclass(frozen=True)
class Block:
    """What both layouts show of a dataset, or of several.

    Attributes:
        label: of the dataset.
        measure: ``score`` or ``return``.
        summaries: by column.
        improvements: by column.
        likelihoods: of each training, by column.
        references: texts of recorded references and of published scores, by name.
    """

    label: str
    measure: str
    summaries: Mapping[str, Summary]
    improvements: Mapping[str, Improvement]
    likelihoods: Mapping[str, Sequence[float]]
    references: Mapping[str, str]


def _blocks(rows: Sequence[Row]) -> list[Block]:
    blocks = [
        Block(row.label, row.measure, row.summaries, row.improvements, row.likelihoods, _references(row))
        for row in rows
    ]
    better = overall_improvements(rows)
    return blocks + [Block(label, "score", found, better[label], {}, {}) for label, found in overall(rows).items()]


def wide_table(rows: Sequence[Row]) -> TextTable:
    """Return lines for each dataset, with a column for each method; references stand apart."""
    ours, recorded = columns_of(rows), names_of(row.recorded for row in rows)
    published = names_of(row.published for row in rows)
    lines = []
    for block in _blocks(rows):
        references = [block.references.get(name, "") for name in recorded + published]
        lines += _lines(block, ours, references)
    groups = [("", ["dataset", "measure"]), ("this code", ours), ("references", recorded), ("published", published)]
    return TextTable([group for group in groups if group[1]], lines, _notes(rows))


def long_table(rows: Sequence[Row]) -> TextTable:
    """Return a line for each method and reference on each dataset, with a column for each statistic."""
    blocks, ours = _blocks(rows), columns_of(rows)
    statistics: list[tuple[str, Callable[[Block, str], str]]] = [
        ("mean ± SE", lambda block, column: _mean(block.summaries.get(column))),
        ("mean [95%]", lambda block, column: _mean_interval(block.summaries.get(column))),
        ("IQM [95%]", lambda block, column: _iqm(block.summaries.get(column))),
        ("P(AdaCat higher)", lambda block, column: _improvement(block.improvements.get(column))),
        ("held-out NLL", lambda block, column: _likelihood(block.likelihoods.get(column))),
    ]
    lines = []
    for block in blocks:
        methods = [column for column in ours if column in block.summaries]
        cells = [[column, *(show(block, column) for _, show in statistics)] for column in methods]
        cells += [[name, value, *[""] * (len(statistics) - 1)] for name, value in block.references.items()]
        lines += [
            [label, measure, *line] for (label, measure), line in zip(_heads(block, len(cells)), cells, strict=True)
        ]
    columns = ["dataset", "measure", "method", *(name for name, _ in statistics)]
    used = [i for i in range(len(columns)) if any(line[i] for line in lines)]
    kept = [[line[i] for i in used] for line in lines]
    return TextTable([("", [columns[i] for i in used])], kept, _notes(rows))


def _heads(block: Block, n_lines: int) -> list[tuple[str, str]]:
    """Return the first two cells of each line of a dataset, which name it once."""
    return [(block.label, block.measure), *[("", "")] * (n_lines - 1)]


def csv_lines(rows: Sequence[Row]) -> str:
    """Return CSV with one line for each column of a row, its numbers unrounded."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)

    def summary_line(head: Sequence[str], column: str, block: Block) -> None:
        s = block.summaries[column]
        none: tuple[float | str, ...] = ("", "")
        mean = [s.mean, s.standard_error, *(s.mean_interval or none)]
        line = [*head, "measured", column, *mean, s.n, s.trainings, s.iqm, *(s.interval or none), ""]
        nll = block.likelihoods.get(column)
        better = block.improvements.get(column)
        compared: list[float | str | None] = ["", "", "", ""]
        if better is not None:
            compared = [opponent(column, block.summaries), better.probability, *better.interval]
        writer.writerow([*line, "" if nll is None else sum(nll) / len(nll), *compared])

    blocks, blank = _blocks(rows), [""] * 5
    for row, block in zip(rows, blocks, strict=False):  # blocks of several datasets follow
        head = [row.dataset, "; ".join(row.qualifiers), row.measure]
        for column in columns_of([row]):
            summary_line(head, column, block)
        for name, values in row.recorded.items():
            for value in values:
                writer.writerow([*head, "reference", name, value, *[""] * 9, *blank])
        for score in row.published.values():
            published = [score.method, score.mean, score.standard_error, *[""] * 7, score.source]
            writer.writerow([*head, "published", *published, *blank])
    for block in blocks[len(rows) :]:
        for column in block.summaries:
            summary_line([block.label, "", block.measure], column, block)
    return file.getvalue()


def _lines(block: Block, columns: Sequence[str], references: Sequence[str]) -> list[list[str]]:
    ours = [block.summaries.get(column) for column in columns]
    found, blank = list(block.summaries.values()), [""] * len(references)
    lines = [[block.label, f"{block.measure}, mean ± SE{_unit(found)}", *(map(_mean, ours)), *references]]
    if any(summary.trainings > 1 for summary in found):
        lines.append(["", f"{block.measure}, mean [95%]", *map(_mean_interval, ours), *blank])
    lines.append(["", f"{block.measure}, IQM [95%]", *map(_iqm, ours), *blank])
    if block.improvements:
        better = [_improvement(block.improvements.get(column)) for column in columns]
        lines.append(["", "P(AdaCat higher) [95%]", *better, *blank])
    if block.likelihoods:
        likelihoods = [_likelihood(block.likelihoods.get(column)) for column in columns]
        lines.append(["", "held-out NLL", *likelihoods, *blank])
    return lines


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


def _improvement(found: Improvement | None) -> str:
    return "" if found is None else f"{found.probability:.2f} [{found.interval[0]:.2f}, {found.interval[1]:.2f}]"


def _likelihood(values: Sequence[float] | None) -> str:
    return "" if values is None else f"{sum(values) / len(values):.3f}"


def _references(row: Row) -> dict[str, str]:
    """Return the texts of recorded references and of published scores, by name."""
    recorded = {name: " / ".join(map(number, values)) for name, values in row.recorded.items()}
    return recorded | {method: _published(score) for method, score in row.published.items()}


def _published(score: PublishedScore) -> str:
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
    notes += [IMPROVEMENT_NOTE] if any(row.improvements for row in rows) else []
    notes += [LIKELIHOOD_NOTE] if any(row.likelihoods for row in rows) else []
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
