"""Train and roll out baselines on several datasets with several seeds; resume at any point.

    python -m benchmarks.baselines.run --datasets hopper-medium-collected --algorithms iql td3bc bc --seeds 0 1 2

It runs in the package's environment, and starts the trainings in d3rlpy's (docs/baselines.md).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.baselines import evaluate, experiment
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.table import tabulate
from trajectory_adacat.scripts.sweep import data_command, default_processes, outline
from trajectory_adacat.sweep.jobs import Job, find_done
from trajectory_adacat.sweep.outputs import are_rolled_out
from trajectory_adacat.sweep.runner import FAILURES_FILE, Runner

EXECUTE = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"  # replaces the process, which keeps its id
# Processor time of a step on hopper, the mean of the first 200 on a busy AMD EPYC; -paper is taken as equal
STEP_SECONDS = {"iql": 0.032, "iql-paper": 0.032, "td3bc": 0.023, "td3bc-paper": 0.023, "bc": 0.018}
EPISODE_SECONDS = 1.0  # of 1000 steps; not measured


class RunArguments(CommandParser):
    """Train and roll out baselines, and tabulate the results; what is done is skipped."""

    datasets: list[str] = [
        "hopper-medium-collected",
        "halfcheetah-medium-collected",
        "walker2d-medium-collected",
    ]  # names
    algorithms: list[experiment.Algorithm] = ["iql", "td3bc", "bc"]  # methods; see --algorithm of train
    seeds: list[int] = [0, 1, 2]  # training seeds
    n_steps: int = 50_000  # gradient steps of each training; the papers use 1,000,000
    rollouts: int = 10  # rollouts of each actor
    first_rollout: int = 0  # seed of the first rollout
    logbase: str = "logs"  # folder under which everything is written
    python: str = ".baselines/bin/python"  # Python of d3rlpy's environment
    processes: int | None = None  # jobs side by side; by default one per core
    dry_run: bool = False  # print the jobs and how long they take, and run none


def is_evaluated(folder: Path, seeds: range) -> bool:
    """Return whether there are results of all rollouts of the actor that is there."""
    try:
        setting = evaluate.read_setting(folder)
    except InputError:
        return False
    return are_rolled_out(folder, seeds, setting.planner, setting.hash, setting.environment)


def train_job(arguments: RunArguments, dataset: str, algorithm: str, seed: int, needs: tuple[str, ...]) -> Job:
    """Return the job that trains one baseline in d3rlpy's environment."""
    folder = experiment.experiment_folder(arguments.logbase, dataset, algorithm, seed)
    flags = {"dataset": dataset, "algorithm": algorithm, "seed": seed, "n_steps": arguments.n_steps}
    settings = {"dataset": dataset, "algorithm": algorithm}
    given = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    command = ("-c", EXECUTE, arguments.python, "-m", "benchmarks.baselines.train", *given)
    return Job(
        name=f"train {dataset} {algorithm} {seed}",
        kind="train",
        command=(*command, "--logbase", arguments.logbase),
        is_done=partial(experiment.is_trained, folder, settings, seed, arguments.n_steps),
        needs=needs,
        seconds=arguments.n_steps * STEP_SECONDS[algorithm],
    )


def evaluate_job(arguments: RunArguments, folder: Path, training: Job) -> Job:
    """Return the job that rolls out the actor of a training."""
    first, n_rollouts = arguments.first_rollout, arguments.rollouts
    flags = ("--baseline", str(folder), "--seed", str(first), "--n_rollouts", str(n_rollouts), "--overwrite")
    return Job(
        name=f"plan {training.name.removeprefix('train ')}",
        kind="plan",
        command=("-m", "benchmarks.baselines.evaluate", *flags),
        is_done=partial(is_evaluated, folder, range(first, first + n_rollouts)),
        needs=(training.name,),
        folder=folder,
        seconds=n_rollouts * EPISODE_SECONDS,
    )


def make_jobs(arguments: RunArguments) -> Iterator[Job]:
    """Yield the jobs, each after those it needs."""
    needs: dict[str, tuple[str, ...]] = {}
    for dataset in arguments.datasets:
        needs[dataset] = ()
        if (data := data_command(dataset)) is not None:
            job = Job(f"collect {dataset}", "collect", data.command, data.is_done, seconds=data.seconds)
            needs[dataset] = (job.name,)
            yield job
    for dataset, algorithm, seed in product(arguments.datasets, arguments.algorithms, arguments.seeds):
        training = train_job(arguments, dataset, algorithm, seed, needs[dataset])
        yield training
        yield evaluate_job(
            arguments, experiment.experiment_folder(arguments.logbase, dataset, algorithm, seed), training
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the jobs that are not done, then print the table.

    Raises:
        InputError: for a bad flag, if d3rlpy's environment is missing, and at the end if jobs failed.
    """
    arguments = RunArguments().parse(argv)
    check_positive(arguments, "n_steps", "rollouts", "processes")
    jobs = list(make_jobs(arguments))
    processes = arguments.processes or default_processes("cpu")
    if arguments.dry_run:
        print(outline(jobs, find_done(jobs), processes))
        return
    if not Path(arguments.python).exists():
        raise InputError(f"There is no {arguments.python}: run `make baselines`, or name d3rlpy's Python by --python.")
    folder = Path(arguments.logbase, "baselines")
    runner = Runner(jobs, processes, folder)
    runner.run()
    results = [job.folder for job in jobs if job.kind == "plan" and job.folder is not None and job.is_done()]
    if results:
        (folder / "table.md").write_text(tabulate(results, "markdown"), encoding="utf-8")
        print(tabulate(results), end="")
    if runner.failures:
        names = ", ".join(failure["job"] for failure in runner.failures)
        raise InputError(f"{len(runner.failures)} of {len(jobs)} jobs failed: {names}. See {folder / FAILURES_FILE}.")


if __name__ == "__main__":
    run_command(main)
