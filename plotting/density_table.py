"""Tabulate the test likelihoods of density models: ``trajectory-adacat density table results/density/tabular``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.plotting.density_groups import DensityGroup, gather_density, published_figures, published_source
from trajectory_adacat.plotting.formats import TextTable, latex, markdown, text
from trajectory_adacat.plotting.writing import writing

FORMATS = {"text": text, "markdown": markdown, "latex": latex}
COLUMNS = ("dataset", "method", "outputs", "parameters", "trainings", "test NLL", "SE", "95 %", "processor s", "steps")
AUDIO_COLUMNS = ("mu-law NLL", "MCD (dB)")
DECIMALS = 3


class DensityTableParser(CommandParser):
    """Tabulate the test likelihoods of density models, with the paper's own figures below."""

    paths: Positional[list[Path]] = [Path("logs/density")]  # density.jsonl files, or folders of such files
    format: Literal["text", "markdown", "latex"] | None = None  # by default from --out's ending, else text
    out: Path | None = None  # file to write instead of printing
    published: bool = True  # show the paper's own figures


def main(argv: Sequence[str] | None = None) -> None:
    """Print or write the table that the command line asks for."""
    arguments = DensityTableParser().parse(argv)
    by_ending = {".md": "markdown", ".tex": "latex"}.get(arguments.out.suffix, "text") if arguments.out else "text"
    table = FORMATS[arguments.format or by_ending](density_table(gather_density(arguments.paths), arguments.published))
    if arguments.out is None:
        print(table, end="")
        return
    with writing(arguments.out) as out:
        out.write_text(table, encoding="utf-8")


def density_table(groups: Sequence[DensityGroup], published: bool = True) -> TextTable:
    """Return a line for each method on each dataset, the best first."""
    has_audio = any(group.experiment == "audio" for group in groups)
    lines = [_line(group) + (_audio(group.mu_law_nll, group.mcd) if has_audio else []) for group in groups]
    experiments = sorted({group.experiment for group in groups})
    notes = [
        "test NLL: mean over trainings, "
        + "; ".join(f"{name} in {unit}" for name, unit in sorted({(g.experiment, g.results[0].unit) for g in groups}))
        + ". SE: sample standard deviation / sqrt(trainings). 95 %: bootstrap interval over trainings.",
    ]
    for name in experiments if published else ():
        for figure in published_figures(name):
            outputs, nll = str(figure["outputs"]), f"{figure['nll']:.{DECIMALS}f}"
            line = [f"{figure['dataset']} (paper)", figure["form"], outputs, "", "", nll, "", "", "", ""]
            lines.append(line + (_audio(figure.get("mu_law_nll"), figure.get("mcd")) if has_audio else []))
    if has_audio:
        notes.append("mu-law NLL: of the mu-law values. MCD: mel-cepstral distance of synthesized test speech, mean.")
    if published and any(published_figures(name) for name in experiments):
        notes.append(f"(paper): {published_source()}. Not to be compared with the lines above: another size of data.")
    if any(len({(r.n_parameters, r.n_steps) for r in group.results}) > 1 for group in groups):
        notes.append("parameters and steps: smallest-largest where trainings differ.")
    return TextTable([("", (*COLUMNS, *(AUDIO_COLUMNS if has_audio else ())))], lines, notes)


def _audio(mu_law_nll: float | None, distance: float | None) -> list[str]:
    """Return the cells of `AUDIO_COLUMNS`."""
    return ["" if value is None else f"{value:.{DECIMALS}f}" for value in (mu_law_nll, distance)]


def _line(group: DensityGroup) -> list[str]:
    summary = group.summary
    error, interval = summary.standard_error, summary.mean_interval
    seconds = sum(result.seconds["cpu"] for result in group.results) / len(group.results)
    return [
        group.dataset,
        group.label,
        "" if group.n_outputs is None else str(group.n_outputs),
        group.count_range("n_parameters"),
        str(len(group.results)),
        f"{summary.mean:.{DECIMALS}f}",
        "" if error is None else f"{error:.{DECIMALS}f}",
        "" if interval is None else f"[{interval[0]:.{DECIMALS}f}, {interval[1]:.{DECIMALS}f}]",
        f"{seconds:.1f}",
        group.count_range("n_steps"),
    ]


if __name__ == "__main__":
    run_command(main)
