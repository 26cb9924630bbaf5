"""Test whether two sets of rollouts differ in return.

Run ``trajectory-adacat compare first/ second/``, or this file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import Location, RolloutResult, load_results
from trajectory_adacat.evaluation.statistics import difference, standard_error
from trajectory_adacat.plotting.summary import gather


class CompareParser(CommandParser):
    """Compare the mean returns of two sets of rollouts, by Welch's t-test."""

    first: Positional[Path]  # results file, or folder of such files
    second: Positional[Path]  # results to compare with


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison that the command line asks for."""
    arguments = CompareParser().parse(argv)
    print(comparison(arguments.first, arguments.second))


def comparison(first: Path, second: Path) -> str:
    """Return both means with their standard errors, their difference with its 95 % interval, and the verdict.

    Raises:
        InputError: if a side has fewer than two rollouts or some that are not pooled, if both sides share a rollout,
            or if the environments or the maximum episode lengths differ.
    """
    sides = [load_results([path]) for path in (first, second)]
    for path, side in zip((first, second), sides, strict=True):
        _check_pooled(path, side)
    shared = _resolved(sides[0]) & _resolved(sides[1])
    if shared:
        raise InputError(f"{min(shared)} is on both sides: name two folders that share no rollouts.")
    _check_alike(*(next(iter(side.values())) for side in sides))
    returns = [[result.return_ for result in side.values()] for side in sides]
    lines = [
        f"{path}: return {_number(sum(values) / len(values))} ± {_number(standard_error(values))} ({len(values)})"
        for path, values in zip((first, second), returns, strict=True)
    ]
    found = difference(*returns)
    low, high = map(_number, found.interval)
    verdict = "the means differ" if found.is_clear else "no clear difference"
    last = f"{_number(found.mean)}, 95% interval [{low}, {high}], p = {found.p_value:.2g}: {verdict} at 95%"
    return "\n".join([*lines, f"first - second: {last}"])


def _resolved(locations: Iterable[Location]) -> set[Location]:
    return {location._replace(path=location.path.resolve()) for location in locations}


def _check_pooled(path: Path, results: Mapping[Location, RolloutResult]) -> None:
    if len(results) < 2:
        raise InputError(f"{path} holds {len(results)} rollout: a comparison needs at least two on each side.")
    methods = [f"{row.label}: {column}" for row in gather(results) for column in row.values]
    if len(methods) > 1:
        raise InputError(
            f"{path} holds rollouts that are never pooled, of {'; '.join(methods)}: name a folder that holds one kind."
        )


def _check_alike(first: RolloutResult, second: RolloutResult) -> None:
    key = "max_episode_length"
    settings = [{**result.environment, key: result.planner.get(key)} for result in (first, second)]
    for name in sorted(settings[0].keys() | settings[1].keys()):
        one, other = (setting.get(name) for setting in settings)
        if one != other:
            raise InputError(
                f"Returns in different environments cannot be compared: their {name} is {one} and {other}."
            )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.5g}"


if __name__ == "__main__":
    run_command(main)
