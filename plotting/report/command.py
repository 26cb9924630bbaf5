"""Write a report of results, trainings and recordings as one HTML page.

Run ``trajectory-adacat report logs/ --out report.html``.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.report.experiments import load_material
from trajectory_adacat.plotting.report.page import render


class ReportParser(CommandParser):
    """Write scores, learning curves, videos, plans, densities and settings as one HTML page that needs no network."""

    paths: Positional[list[Path]] = [Path("logs")]  # folders with results, trainings and recordings in or below them
    out: Path = Path("report.html")  # page to write
    title: str = "trajectory-adacat report"  # title of the page


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page that the command line asks for, and print its path.

    Raises:
        InputError: if a path does not exist, or the page cannot be written.
    """
    arguments = ReportParser().parse(argv)
    command = ["trajectory-adacat", "report", *map(str, arguments.paths), "--out", str(arguments.out)]
    page = render(load_material(arguments.paths), arguments.title, shlex.join(command))
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {arguments.out} cannot be written: {error.strerror}.") from error
    print(arguments.out)


if __name__ == "__main__":
    run_command(main)
