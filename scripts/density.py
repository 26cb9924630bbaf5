"""Run one of the paper's density experiments: ``python scripts/density.py toy``."""

import importlib
import sys
from collections.abc import Sequence

from trajectory_adacat.checks import suggest
from trajectory_adacat.command_line import run_command
from trajectory_adacat.errors import InputError

SCRIPTS = "trajectory_adacat.scripts."
# name: (module with a function main(argv), description). Only the chosen module is imported.
EXPERIMENTS = {
    "toy": (f"{SCRIPTS}density_toy", "make the paper's Figures 1 to 3"),
    "tabular": (f"{SCRIPTS}density_tabular", "train and test a density model of a table"),
    "images": (f"{SCRIPTS}density_images", "train and test a density model of MNIST's images"),
    "audio": (f"{SCRIPTS}density_audio", "train and test a density model of speech, and synthesize some"),
    "table": ("trajectory_adacat.plotting.density_table", "tabulate the test likelihoods"),
    "plot": ("trajectory_adacat.plotting.density_plot", "draw the test likelihoods"),
}


def usage() -> str:
    """Return the help text, one line per experiment."""
    lines = [f"  {name:<8} {description}" for name, (_, description) in EXPERIMENTS.items()]
    return "\n".join(["usage: density.py EXPERIMENT [flags]", "", *lines, "", "EXPERIMENT --help lists the flags."])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment named by the first argument.

    Raises:
        InputError: if there is no such experiment.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in EXPERIMENTS:
        raise InputError(f"There is no density experiment {name!r}: {suggest(name, EXPERIMENTS)}")
    sys.argv = [f"{sys.argv[0]} {name}", *rest]  # argparse shows this name in usage texts
    importlib.import_module(EXPERIMENTS[name][0]).main(rest)


if __name__ == "__main__":
    run_command(main)
