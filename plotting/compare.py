"""Whether two sets of rollouts differ in return, from their JSON files alone.

Run ``trajectory-adacat compare first/ second/``, or this file.
"""

from collections.abc import Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.configuration import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.statistics import difference, standard_error


class CompareParser(CommandParser):
    """Compare the mean returns of two sets of rollouts, by Welch's t-test."""

    first: Positional[Path]  # rollout JSON file, or folder that holds them
    second: Positional[Path]  # the same, to compare with


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison that the command line asks for."""
    arguments = CompareParser().parse(argv)
    print(comparison(arguments.first, arguments.second))


def comparison(first: Path, second: Path) -> str:
    """Both means with their standard errors, the difference with its 95 % interval, and whether it is clear.

    Raises:
        InputError: if either place holds fewer than two rollouts, or the two are of other environments.
    """
    lines, returns, environments = [], [], []
    for path in (first, second):
        results = list(load_results([path]).values())
        if len(results) < 2:
            raise InputError(f"{path} holds {len(results)} rollout: a comparison needs two or more on either side.")
        values = [result.return_ for result in results]
        error = standard_error(values)
        lines.append(f"{path}: return {sum(values) / len(values):.1f} ± {error:.1f} ({len(values)})")
        returns.append(values)
        environments += [(result.environment["environment"], result.environment["dynamics"]) for result in results]
    if len({*environments}) > 1:
        shown = ", ".join(sorted({f"{name} ({dynamics})" for name, dynamics in environments}))
        raise InputError(f"Returns of different environments do not compare: {shown}.")
    found = difference(*returns)
    low, high = found.interval
    verdict = "the means differ" if found.is_clear else "no difference"
    lines.append(f"first - second: {found.mean:.1f}, 95% interval [{low:.1f}, {high:.1f}], p = {found.p_value:.2g}:")
    return "\n".join([*lines[:-1], f"{lines[-1]} {verdict} at 95%"])


if __name__ == "__main__":
    run_command(main)
