"""Run a sweep: datasets x parameterizations x settings x seeds, from one command or a TOML file (docs/sweep.md)."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.critic.checkpoint import KIND
from trajectory_adacat.critic.config import CriticConfig
from trajectory_adacat.datasets.cache import d4rl_folder
from trajectory_adacat.datasets.collected import collected_path
from trajectory_adacat.datasets.official import official_file
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RESULTS_FILE
from trajectory_adacat.plotting.table import tabulate
from trajectory_adacat.robots import find_dataset
from trajectory_adacat.scripts import critic, plan, plan_arguments, plan_setting, train
from trajectory_adacat.scripts.density_jobs import DensityJobs
from trajectory_adacat.settings import to_nested
from trajectory_adacat.sweep.building import Builder, Command, DataCommand
from trajectory_adacat.sweep.density_building import DensityBuilder
from trajectory_adacat.sweep.density_estimate import DensityEstimator
from trajectory_adacat.sweep.display import Display, format_duration
from trajectory_adacat.sweep.estimate import COLLECT_SECONDS, Arguments, Estimator
from trajectory_adacat.sweep.grid import (
    SECTIONS,
    Experiment,
    SweepConfig,
    parse_assignments,
    read_config,
    setting_names,
)
from trajectory_adacat.sweep.jobs import Job, duration, find_done
from trajectory_adacat.sweep.outputs import are_rolled_out, is_trained
from trajectory_adacat.sweep.runner import FAILURES_FILE, Runner, Start, start_process
from trajectory_adacat.training.config import OfflineRunConfig, RunConfig, TrainConfig
from trajectory_adacat.training.interruption import telling_how_to_resume


class SweepArguments(CommandParser):
    """Train, plan and tabulate combinations of datasets, parameterizations, settings and seeds; resume at any point."""

    file: Path | None = None  # TOML file that describes the sweep; the flags override it
    preset: str | None = None  # sweep of the package: table4, table4-collected, ablations, density-images, ...
    name: str | None = None  # name of the sweep and of its folders; by default the file's or the preset's
    experiment: Experiment | None = None  # what is trained: models for planning (default), or density models
    datasets: list[str] | None = None  # names of datasets
    parameterizations: list[str] | None = None  # forms of the outputs; by default adacat
    seeds: list[int] | None = None  # training seeds; by default 0
    rollouts: int | None = None  # rollouts of each training and plan; by default 3
    first_rollout: int | None = None  # seed of the first rollout; by default 0
    train: list[str] = []  # flags of train, or of density, as name=value or name=value,value for several values
    critic: list[str] = []  # flags of critic, likewise
    plan: list[str] = []  # flags of plan, likewise; scoring=values,critic also trains critics
    config: str | None = None  # configuration of the jobs; by default config.offline, or config.density
    device: str | None = None  # torch device of the jobs; by default cpu
    logbase: str | None = None  # folder under which everything is written; by default logs, or logs/density
    backend: Literal["local", "ray"] = "local"  # processes of this machine, or a Ray cluster (docs/cluster.md)
    processes: int | None = None  # jobs side by side; by default one per core, and one per GPU, of what backend has
    threads: int = 1  # threads of each job
    dry_run: bool = False  # print the jobs and how long they take, and run none
    verbose: bool = True  # print progress

    def sweep(self) -> SweepConfig:
        """Return the settings of the sweep."""
        given = {name: value for name in setting_names() if (value := getattr(self, name)) is not None}
        grids = {name: parse_assignments(name, getattr(self, name)) for name in SECTIONS if getattr(self, name)}
        return read_config(self.file, self.preset, {**given, "grids": grids})


def resolve_train(argv: Sequence[str], parameterization: str) -> Arguments:
    """Check the flags of a training and return the value of each."""
    arguments = train.TrainArguments.new().parse(argv)
    arguments.settings(TrainConfig)
    arguments.settings(RunConfig)
    return arguments.arguments()


def resolve_critic(argv: Sequence[str], parameterization: str) -> Arguments:
    """Check the flags of a critic's training and return the value of each."""
    arguments = critic.CriticArguments.new().parse(argv)
    arguments.settings(CriticConfig)
    arguments.settings(OfflineRunConfig)
    return arguments.arguments()


def resolve_plan(argv: Sequence[str], parameterization: str) -> Arguments:
    """Check the flags of a plan and return the value of each."""
    arguments = plan_arguments.PlanArguments.new().parse(argv)
    arguments.use_parameterization(parameterization)
    plan_setting.planner_config(arguments, 0.99)  # the checkpoint's discount is not known yet
    return arguments.arguments()


def training_is_done(argv: Sequence[str], parameterization: str) -> bool:
    """Return whether a model is trained."""
    arguments = train.TrainArguments.new().parse(argv)
    settings = {**to_nested(arguments.settings(TrainConfig)), "dataset": arguments.dataset}
    values = arguments.arguments()
    return is_trained(arguments.savepath, settings, values["seed"], values["n_steps"])


def critic_is_done(argv: Sequence[str], parameterization: str) -> bool:
    """Return whether a critic is trained."""
    arguments = critic.CriticArguments.new().parse(argv)
    settings = {**to_nested(arguments.settings(CriticConfig)), "dataset": arguments.dataset}
    values = arguments.arguments()
    return is_trained(arguments.savepath, settings, values["seed"], values["n_steps"], KIND)


def plan_is_done(argv: Sequence[str], parameterization: str) -> bool:
    """Return whether there are results of all rollouts, as the checkpoints that are there would give them."""
    try:
        arguments, checkpoint = plan_arguments.parse(argv)
        config = plan_setting.planner_config(arguments, checkpoint.description["discount"])
        source = plan_setting.choose_source(arguments, checkpoint.description["dataset"])
        setting = plan_setting.make_setting(source, arguments, checkpoint, config)
    except InputError:
        return False
    seeds = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    return are_rolled_out(arguments.savepath, seeds, setting.planner, checkpoint.hash, setting.environment)


def commands() -> dict[str, Command]:
    """Return the commands that jobs run."""
    modules: dict[str, Any] = {"train": train, "critic": critic, "plan": plan}
    parsers = {"train": train.TrainArguments, "critic": critic.CriticArguments, "plan": plan_arguments.PlanArguments}
    resolve = {"train": resolve_train, "critic": resolve_critic, "plan": resolve_plan}
    done = {"train": training_is_done, "critic": critic_is_done, "plan": plan_is_done}
    return {
        name: Command(module.__name__, parsers[name].new().flags, resolve[name], done[name])
        for name, module in modules.items()
    }


def data_command(name: str) -> DataCommand | None:
    """Return what collects or downloads a dataset; None for one that the package does not make."""
    dataset = find_dataset(name)
    if dataset is None:
        return None
    if dataset.source == "collected":
        path = collected_path(name)
        return DataCommand(("-m", "trajectory_adacat.scripts.collect", "--dataset", name), path.exists, COLLECT_SECONDS)
    official = official_file(dataset)
    paths = (official.target, d4rl_folder() / official.file_name)
    code = f"from trajectory_adacat.datasets import load_dataset; load_dataset({name!r})"
    return DataCommand(("-c", code), lambda: any(path.exists() for path in paths), COLLECT_SECONDS)


def default_processes(device: str) -> int:
    """Return one process for each core that this process may use, and one in all on another device."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outline(jobs: Sequence[Job], done: set[str], processes: int) -> str:
    """Return the text of ``--dry_run``: the jobs, how many, and how long they take."""
    lines = []
    for job in jobs:
        state = "done" if job.name in done else format_duration(job.seconds)
        lines.append(f"{state:>8}  {job.name}")
    counts = Counter(job.kind for job in jobs)
    left = [job for job in jobs if job.name not in done]
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    lines.append(f"{len(jobs)} jobs ({kinds}), {len(done)} done, {len(left)} to run")
    if left:
        plural = "" if processes == 1 else "es"
        lines.append(f"about {format_duration(duration(left, processes))} with {processes} process{plural}")
        measured = Counter(job.is_measured for job in left)
        episodes = " Episodes count as full length." if "plan" in counts else ""
        lines.append(
            f"{measured[True]} of these durations rest on steps measured in the folder of logs, {measured[False]} on "
            f"defaults for one core of an AMD EPYC.{episodes}"
        )
    return "\n".join(lines)


def run_jobs(jobs: Sequence[Job], folder: Path, arguments: SweepArguments, device: str, processes: int) -> Runner:
    """Run jobs with the backend that the flags name; return the runner, which has their failures."""

    def runner(processes: int, start: Start = start_process) -> Runner:
        display = Display(jobs, processes, quiet=not arguments.verbose)
        return Runner(jobs, processes, folder, arguments.threads, display, start)

    if arguments.backend == "local":
        made = runner(processes)
        made.run()
        return made
    from trajectory_adacat.sweep.ray_backend import RayBackend  # optional

    with closing(RayBackend(arguments.threads, device)) as backend:
        made = runner(arguments.processes or backend.processes, backend.start)
        made.run()
        return made


def result_folders(jobs: Sequence[Job]) -> list[Path]:
    """Return the folders of the plans that have results."""
    folders = [job.folder for job in jobs if job.kind == "plan" and job.folder is not None]
    return [folder for folder in folders if (folder / RESULTS_FILE).exists()]


def make_jobs(config: SweepConfig, threads: int, density: DensityJobs | None = None) -> list[Job]:
    """Return the jobs of a sweep, each after those it needs; ``density`` has read data of density models already."""
    if config.is_density:
        estimator = DensityEstimator(config.experiment, Path(config.logbase))
        command = (density or DensityJobs(config.experiment)).command()
        return DensityBuilder(config, command, estimator, threads).jobs()
    return Builder(config, commands(), data_command, Estimator(Path(config.logbase)), threads).jobs()


def save_table(jobs: Sequence[Job], folder: Path) -> str:
    """Write the table of the results that are there into a folder, and return it as text; empty if there are none."""
    results = result_folders(jobs)
    if not results:
        return ""
    (folder / "table.md").write_text(tabulate(results, "markdown", names="folders"), encoding="utf-8")
    return tabulate(results, names="folders")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the jobs that are not done, then print the table.

    Raises:
        InputError: for bad input before the first job, and at the end if jobs failed.
    """
    arguments = SweepArguments().parse(argv)
    check_positive(arguments, "processes", "threads")
    config = arguments.sweep()
    processes = arguments.processes or default_processes(config.device)
    density = DensityJobs(config.experiment) if config.is_density else None
    jobs = make_jobs(config, arguments.threads, density)
    if arguments.dry_run:
        print(outline(jobs, find_done(jobs), processes))
        return
    folder = Path(config.logbase, "sweeps", config.name)
    with telling_how_to_resume("sweep", argv, flag=None):
        runner = run_jobs(jobs, folder, arguments, config.device, processes)
    print(density.save_table(jobs, config.seeds[0], folder) if density else save_table(jobs, folder), end="")
    if runner.failures:
        n_skipped = sum(len(failure["skipped"]) for failure in runner.failures)
        raise InputError(
            f"{len(runner.failures)} of {len(jobs)} jobs failed and {n_skipped} that need them were skipped: "
            f"{', '.join(failure['job'] for failure in runner.failures)}. See {folder / FAILURES_FILE}."
        )


if __name__ == "__main__":
    run_command(main)
