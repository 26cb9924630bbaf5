"""The ``trajectory-adacat`` command: pass the rest of the command line to one of the package's scripts.

Only the chosen script is imported, so that ``--help`` and the tables start without torch.
"""

import importlib
import sys
from collections.abc import Sequence

from trajectory_adacat.checks import suggest
from trajectory_adacat.errors import InputError
from trajectory_adacat.extras import name_missing_extra

PROGRAM = "trajectory-adacat"

# name: (module with a function main(argv), description)
COMMANDS = {
    "train": ("trajectory_adacat.scripts.train", "train a model on an offline dataset"),
    "critic": ("trajectory_adacat.scripts.critic", "train a critic on an offline dataset"),
    "plan": ("trajectory_adacat.scripts.plan", "control the robot with a trained model and record the rollouts"),
    "convert": ("trajectory_adacat.scripts.convert", "convert a training of Trajectory Transformer or AdaCat's code"),
    "export": (
        "trajectory_adacat.scripts.export",
        "write a trained model and its critic as a small folder with a card",
    ),
    "collect": ("trajectory_adacat.scripts.collect", "roll out a behaviour policy and write a D4RL-format HDF5 file"),
    "train-behavior": ("trajectory_adacat.scripts.train_behavior", "train a behaviour policy and keep its transitions"),
    "table": ("trajectory_adacat.plotting.table", "tabulate the normalized scores of rollouts"),
    "plot": ("trajectory_adacat.plotting.plot", "draw scores, profiles, curves, calibration or densities for a paper"),
    "curves": ("trajectory_adacat.plotting.curves", "plot the held-out likelihood over the training steps"),
    "report": ("trajectory_adacat.plotting.report.command", "write results, curves and recordings as an HTML page"),
    "compare": ("trajectory_adacat.plotting.compare", "test whether two sets of rollouts differ in return"),
    "sweep": ("trajectory_adacat.scripts.sweep", "train, plan and tabulate a grid of settings; resume at any point"),
    "density": ("trajectory_adacat.scripts.density", "run the paper's density-estimation experiments"),
    "demo": ("trajectory_adacat.scripts.demo", "collect, train, plan and tabulate on a small scale"),
}


def usage() -> str:
    """Return the help text, one line per command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {description}" for name, (_, description) in COMMANDS.items()]
    return "\n".join(
        [f"usage: {PROGRAM} COMMAND [flags]", "", *lines, "", f"{PROGRAM} COMMAND --help lists a command's flags."]
    )


def dispatch(argv: Sequence[str] | None = None) -> None:
    """Run the command named by the first element of ``argv`` (default: ``sys.argv[1:]``).

    Raises:
        InputError: if there is no such command.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        raise InputError(f"There is no command {name!r}: {suggest(name, COMMANDS)}")
    sys.argv = [f"{PROGRAM} {name}", *rest]  # argparse shows this name in usage texts
    importlib.import_module(COMMANDS[name][0]).main(rest)


def main(argv: Sequence[str] | None = None) -> None:
    """Run :func:`dispatch`; print an :class:`InputError` to stderr and exit with status 2."""
    try:
        with name_missing_extra():
            from trajectory_adacat.command_line import run_command
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    run_command(dispatch, argv)
