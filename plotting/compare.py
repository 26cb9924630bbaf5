"""Test whether two sets of rollouts differ in return.

Run ``trajectory-adacat compare first/ second/``, or this file.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tap import Positional

from trajectory_adacat.checks import suggest
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import Location, RolloutResult, load_results, without_nulls
from trajectory_adacat.evaluation.statistics import (
    Scores,
    Summary,
    difference,
    probability_of_improvement,
    summarize,
    units,
)
from trajectory_adacat.plotting.summary import gather
from trajectory_adacat.plotting.table import count


class CompareParser(CommandParser):
    """Compare the mean returns of two sets of rollouts, by Welch's t-test over trainings or over rollouts."""

    first: Positional[Path]  # results file, or folder of such files
    second: Positional[Path]  # results to compare with
    parameterizations: list[str] | None = None  # one for each side, such as adacat bc; by default all results


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison that the command line asks for."""
    arguments = CompareParser().parse(argv)
    names = arguments.parameterizations
    if names is not None and len(names) != 2:
        raise InputError(f"--parameterizations takes two names, one for each side, got {' '.join(names)!r}.")
    print(comparison(arguments.first, arguments.second, None if names is None else (names[0], names[1])))


def comparison(first: Path, second: Path, parameterizations: tuple[str, str] | None = None) -> str:
    """Return both means with standard errors, their difference with its 95 % interval, and the two verdicts.

    The verdicts are Welch's t-test and the probability of improvement.

    The unit of the test is the training, by the mean over its rollouts, where no side has only one; rollouts without
    training are units themselves. Otherwise it is the rollout, and a line says that the verdict is on one training.

    Args:
        first: results file, or folder of such files.
        second: results to compare with.
        parameterizations: the one whose results are taken of each side; None for all.

    Raises:
        InputError: if a side has fewer than two rollouts or some that are not pooled, if both sides share a rollout,
            or if the environments or the maximum episode lengths differ.
    """
    sides = [load_results([path]) for path in (first, second)]
    if parameterizations is not None:
        paths = (first, second)
        sides = [_of(name, side, path) for name, side, path in zip(parameterizations, sides, paths, strict=True)]
    for path, side in zip((first, second), sides, strict=True):
        _check_pooled(path, side)
    shared = _resolved(sides[0]) & _resolved(sides[1])
    if shared:
        raise InputError(f"{min(shared)} is on both sides: name two folders that share no rollouts.")
    _check_alike(*(next(iter(side.values())) for side in sides))
    scores = [_scores(side.values()) for side in sides]
    summaries = [summarize(*returns) for returns in scores]
    lines = [f"{path}: return {_mean(summary)}" for path, summary in zip((first, second), summaries, strict=True)]
    return "\n".join([*lines, *_verdict([returns for returns, _ in scores], summaries)])


def _of(parameterization: str, results: Mapping[Location, RolloutResult], path: Path) -> dict[Location, RolloutResult]:
    found = {place: result for place, result in results.items() if result.parameterization == parameterization}
    if not found:
        known = {result.parameterization for result in results.values()}
        hint = suggest(parameterization, known)
        raise InputError(f"{path} holds no results of --parameterizations {parameterization}: {hint}")
    return found


def _scores(results: Iterable[RolloutResult]) -> tuple[Scores, bool]:
    """Return the returns of pooled results by training, and whether anything was trained."""
    returns: dict[int | None, list[float]] = defaultdict(list)
    for result in results:
        returns[None if result.checkpoint["hash"] is None else result.train_seed].append(result.return_)
    return list(returns.values()), None not in returns


def _verdict(scores: Sequence[Scores], summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield the difference with its test, the probability of improvement, and what the test cannot say."""
    is_one = any(summary.trainings == 1 for summary in summaries)
    by_training = any(summary.trainings > 1 for summary in summaries) and not is_one
    first, second = ([value for each in side for value in each] if is_one else units(side) for side in scores)
    found = difference(first, second)
    ends = ", ".join(map(_number, found.interval))
    verdict = "the means differ" if found.is_clear else "no clear difference"
    test = f"Welch's t-test over {'trainings' if by_training else 'rollouts'}"
    result = f"95% interval [{ends}], p = {found.p_value:.2g} ({test})"
    yield f"first - second: {_number(found.mean)}, {result}: {verdict} at 95%"
    better = probability_of_improvement([scores[0]], [scores[1]])
    low, high = better.interval
    unit = "training" if better.by_training else "rollout"
    yield f"P(first > second) of a {unit}: {better.probability:.2f}, 95% interval [{low:.2f}, {high:.2f}] (bootstrap)"
    if is_one:
        yield "one training: the interval is over rollouts, and says nothing about another training of either method"


def _mean(summary: Summary) -> str:
    return f"{_number(summary.mean)} ± {_number(summary.standard_error)} ({count(summary)})"


def _resolved(locations: Iterable[Location]) -> set[Location]:
    return {location._replace(path=location.path.resolve()) for location in locations}


def _check_pooled(path: Path, results: Mapping[Location, RolloutResult]) -> None:
    if len(results) < 2:
        raise InputError(f"{path} holds {len(results)} rollout: a comparison needs at least two on each side.")
    methods = [f"{row.label}: {column}" for row in gather(results) for column in row.values]
    if len(methods) > 1:
        heads = {result.parameterization for result in results.values()}
        raise InputError(
            f"{path} holds rollouts that are never pooled, of {'; '.join(methods)}: name a folder that holds one kind"
            f"{', or pass --parameterizations' if len(heads) > 1 else ''}."
        )


def _check_alike(first: RolloutResult, second: RolloutResult) -> None:
    key = "max_episode_length"
    settings = [{**without_nulls(result.environment), key: result.planner.get(key)} for result in (first, second)]
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
