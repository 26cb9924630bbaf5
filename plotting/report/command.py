"""Write a report of results, trainings and recordings as one HTML page.

Run ``trajectory-adacat report logs/ --out report.html``.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.plotting.report.experiments import load_material
from trajectory_adacat.plotting.report.page import render
from trajectory_adacat.plotting.splitting import Names
from trajectory_adacat.plotting.writing import writing


class ReportParser(CommandParser):
    """Write scores, learning curves, videos, plans, densities and settings as one HTML page that needs no network."""

    paths: Positional[list[Path]] = [Path("logs")]  # folders with results, trainings and recordings in or below them
    out: Path = Path("report.html")  # page to write
    title: str = "trajectory-adacat report"  # title of the page
    names: Names = "settings"  # columns of one parameterization: by the settings that differ, or by their folders


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page that the command line asks for, and print its path.

    Raises:
        InputError: if a path does not exist, or the page cannot be written.
    """
    arguments = ReportParser().parse(argv)
    command = shlex.join(["trajectory-adacat", "report", *(sys.argv[1:] if argv is None else argv)])
    page = render(load_material(arguments.paths, arguments.names), arguments.title, command)
    with writing(arguments.out) as out:
        out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
