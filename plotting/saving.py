"""Make and save figures in one style."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.writing import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".pdf", ".svg")
STYLE = "paper.mplstyle"


def check_ending(out: Path) -> None:
    """Check that figures can be written as such a file.

    Raises:
        InputError: if not.
    """
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out} must end in one of {', '.join(ENDINGS)}.")


def save_figure(make: Callable[[], "Figure"], out: Path) -> None:
    """Make a figure in the style of `STYLE`, write it with the folder if that is missing, and print the file's name.

    Raises:
        InputError: if it cannot be made or written.
    """
    from matplotlib import style  # slow to import

    with as_file(files("trajectory_adacat.plotting") / STYLE) as path, style.context(path):
        figure = make()
        with writing(out):
            figure.savefig(out)
