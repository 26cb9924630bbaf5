"""The ``trajectory-adacat`` command: hands the rest of the command line to one of the package's scripts.

A script is imported only when it is asked for, so that ``--help`` and the tables start without torch.
"""

import importlib
import sys
from collections.abc import Sequence

from trajectory_adacat.checks import suggest
from trajectory_adacat.command_line import run_command
from trajectory_adacat.errors import InputError

PROGRAM = "trajectory-adacat"

# name: (module with a main(argv), what it does)
COMMANDS = {
    "train": ("trajectory_adacat.scripts.train", "train a model on an offline dataset"),
    "plan": (
        "trajectory_adacat.scripts.plan",
        "drive the robot with a trained model and write a JSON for each rollout",
    ),
    "collect": ("trajectory_adacat.scripts.collect", "roll out a behaviour policy and write a D4RL-format HDF5 file"),
    "table": ("trajectory_adacat.plotting.table", "tabulate normalized scores from the rollouts' JSON files"),
    "plot": ("trajectory_adacat.plotting.plot", "draw normalized scores with their intervals from the same files"),
    "compare": ("trajectory_adacat.plotting.compare", "test whether two sets of rollouts differ in return"),
    "density": ("trajectory_adacat.scripts.density", "run the paper's density-estimation experiments"),
    "demo": ("trajectory_adacat.scripts.demo", "collect, train, plan and tabulate at a small size"),
}


def usage() -> str:
    """The help text: one line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [f"usage: {PROGRAM} COMMAND [flags]", "", *lines, "", f"{PROGRAM} COMMAND --help lists a command's flags."]
    )


def dispatch(argv: Sequence[str] | None = None) -> None:
    """Run the command that ``argv`` (default: ``sys.argv[1:]``) begins with.

    Raises:
        InputError: if there is no such command.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        raise InputError(f"There is no command {name!r}: {suggest(name, COMMANDS)}")
    sys.argv = [f"{PROGRAM} {name}", *rest]  # argparse takes the program's name in usage texts from here
    importlib.import_module(COMMANDS[name][0]).main(rest)


def main(argv: Sequence[str] | None = None) -> None:
    """The console entry point: :func:`dispatch` with errors in one paragraph and exit codes."""
    run_command(dispatch, argv)
