"""Make the jobs of a sweep from its settings."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

from trajectory_adacat.command_line import dataset_folder
from trajectory_adacat.errors import InputError
from trajectory_adacat.sweep.estimate import Arguments, Estimate, Estimator
from trajectory_adacat.sweep.grid import PLAN_FOLDER, Combination, SweepConfig, label, texts
from trajectory_adacat.sweep.jobs import Job
from trajectory_adacat.sweep.outputs import set_aside_damaged

SHARED_BY_ALL = ("preset",)  # flags of a training that hold for its critic and its plans unless they have their own
SHARED_WITH_CRITIC = ("dataset_path", "discount", "termination_penalty", "cut_episodes", "holdout_fraction")


class Command(NamedTuple):
    """A command whose processes are jobs.

    Attributes:
        module: its module.
        words: what stands before its flags.
        flags: names of its flags.
        resolve: checks its flags, for a parameterization, and returns the value of each.
        is_done: whether what a call with these flags writes is there and whole.
    """

    module: str
    flags: Collection[str]
    resolve: Callable[[Sequence[str], str], Arguments]
    is_done: Callable[[Sequence[str], str], bool]
    words: tuple[str, ...] = ()


class DataCommand(NamedTuple):
    """What makes a dataset.

    Attributes:
        command: arguments of the Python interpreter.
        is_done: whether the dataset is there.
        seconds: estimated duration.
    """

    command: tuple[str, ...]
    is_done: Callable[[], bool]
    seconds: float


@dataclass(frozen=True)
class Training:
    """A training of a model.

    Attributes:
        dataset: its name.
        parameterization: form of the outputs.
        seed: of the training.
        variant: of the sweep.
        name: of its folder.
        flags: the rest of its flags that the sweep gives.
        arguments: the values of all its flags.
        data_jobs: names of the jobs that it needs.
        job: name of its own.
    """

    dataset: str
    parameterization: str
    seed: int
    variant: str | None
    name: str
    flags: Combination
    arguments: Arguments
    data_jobs: tuple[str, ...]
    job: str

    def shared(self, names: Collection[str]) -> Combination:
        """Return those of its flags that another command takes over."""
        return {name: self.flags[name] for name in names if name in self.flags}


class Builder:
    """Make the jobs of a sweep.

    Args:
        config: the sweep.
        commands: ``train``, ``critic`` and ``plan``.
        data: returns what makes a dataset, or None for one that is not made.
        estimator: of durations.
        threads: of each process.
    """

    def __init__(
        self,
        config: SweepConfig,
        commands: Mapping[str, Command],
        data: Callable[[str], DataCommand | None],
        estimator: Estimator,
        threads: int = 1,
    ) -> None:
        self._config, self._commands, self._data = config, commands, data
        self._estimator, self._threads = estimator, threads

    def jobs(self) -> list[Job]:
        """Return the jobs, each after those it needs.

        The first training of every cell stands before the second ones, so that an early table has every cell.

        Raises:
            InputError: for a wrong flag, two jobs of one name, or a section that no job uses.
        """
        config = self._config
        config.check_flags({name: command.flags for name, command in self._commands.items()})
        found: dict[str, Job] = {}
        for seed, dataset, parameterization in product(config.seeds, config.datasets, config.parameterizations):
            for variant in config.variants_of(parameterization):
                for job in self._of_variant(dataset, parameterization, seed, variant):
                    add_job(found, job)
        if self._has_critic_section() and not any(job.kind == "critic" for job in found.values()):
            raise InputError("The sweep's section 'critic' has no effect: no plan has scoring = critic.")
        return list(found.values())

    def _has_critic_section(self) -> bool:
        config = self._config
        return "critic" in config.grids or any("critic" in grids for grids in config.variants.values())

    def _of_variant(self, dataset: str, parameterization: str, seed: int, variant: str | None) -> Iterator[Job]:
        for flags in self._config.combinations("train", parameterization, variant):
            yield from self._of_training(dataset, parameterization, seed, variant, flags)

    def _of_training(
        self, dataset: str, parameterization: str, seed: int, variant: str | None, flags: Combination
    ) -> Iterator[Job]:
        """Yield the jobs of a training: its data, itself, its critics, its plans."""
        data = None if "dataset_path" in flags else self._data(dataset)
        data_jobs: tuple[str, ...] = ()
        if data is not None:
            data_job = Job(f"collect {dataset}", "collect", data.command, data.is_done, seconds=data.seconds)
            data_jobs = (data_job.name,)
            yield data_job
        head = self._config.head(parameterization, variant, "train", parameterization)
        name = f"{label(head, flags)}_{seed}"
        own = {**texts(flags), "parameterization": parameterization, "seed": str(seed)}
        argv = self._argv(dataset, f"gpt/{name}", own)
        arguments = self._commands["train"].resolve(argv, parameterization)
        title = f"train {dataset} {name}"
        training = Training(dataset, parameterization, seed, variant, name, flags, arguments, data_jobs, title)
        yield self._training_job("train", title, argv, parameterization, arguments, data_jobs)
        for plan_flags in self._config.combinations("plan", parameterization, variant):
            yield from self._of_plan(training, plan_flags)

    def _of_plan(self, training: Training, own: Combination) -> Iterator[Job]:
        """Yield the jobs of a plan: with each critic, after that critic's, if it is scored by one."""
        flags = {**training.shared(SHARED_BY_ALL), **own}
        resolved = self._commands["plan"].resolve(
            self._plan_argv(training, "", texts(flags)), training.parameterization
        )
        needs, head = (*training.data_jobs, training.job), training.variant or PLAN_FOLDER
        if resolved["scoring"] != "critic" or "critic" in flags:
            yield self._plan_job(training, label(head, own), texts(flags), resolved, needs)
            return
        for critic_flags in self._config.combinations("critic", None, training.variant):
            critic = self._critic_job(training, critic_flags)
            yield critic
            of_critic = {**texts(flags), "critic": f"{self._config.name}/critic/{critic.name.split()[-1]}"}
            name = label(head, {**own, **critic_flags})
            yield self._plan_job(training, name, of_critic, resolved, (*needs, critic.name))

    def _critic_job(self, training: Training, own: Combination) -> Job:
        flags = {**training.shared([*SHARED_BY_ALL, *SHARED_WITH_CRITIC]), **own}
        name = f"{label(self._config.head('iql', training.variant, 'critic'), flags)}_{training.seed}"
        argv = self._argv(training.dataset, f"critic/{name}", {**texts(flags), "seed": str(training.seed)})
        arguments = self._commands["critic"].resolve(argv, training.parameterization)
        title = f"critic {training.dataset} {name}"
        return self._training_job("critic", title, argv, training.parameterization, arguments, training.data_jobs)

    def _plan_argv(self, training: Training, name: str, flags: Mapping[str, str]) -> list[str]:
        config = self._config
        rollouts = {"seed": str(config.first_rollout), "n_rollouts": str(config.rollouts)}
        model = {"gpt_loadpath": f"{config.name}/gpt/{training.name}", "overwrite": "true", "resume": "true"}
        return self._argv(training.dataset, f"plans/{training.name}/{name}", {**flags, **model, **rollouts})

    def _plan_job(
        self, training: Training, name: str, flags: Mapping[str, str], resolved: Arguments, needs: tuple[str, ...]
    ) -> Job:
        command, argv = self._commands["plan"], self._plan_argv(training, name, flags)
        estimate = self._estimator.plan(training.arguments, resolved)
        return Job(
            f"plan {training.dataset} {training.name} {name}",
            "plan",
            ("-m", command.module, *argv),
            partial(command.is_done, argv, training.parameterization),
            needs,
            folder=folder_of(resolved, f"{self._config.name}/plans/{training.name}/{name}"),
            seconds=estimate.seconds,
            is_measured=estimate.is_measured,
        )

    def _training_job(
        self,
        kind: Literal["train", "critic"],
        name: str,
        argv: list[str],
        parameterization: str,
        arguments: Arguments,
        needs: tuple[str, ...],
    ) -> Job:
        command, estimate = self._commands[kind], self._estimator.training(arguments)
        return training_job(kind, name, command, argv, parameterization, folder_of(arguments), estimate, needs)

    def _argv(self, dataset: str, name: str, flags: Mapping[str, str]) -> list[str]:
        return job_flags(self._config, self._threads, dataset, name, flags)


def add_job(found: dict[str, Job], job: Job) -> None:
    """Add a job to those found, by name, unless it is there.

    Raises:
        InputError: if another job has its name.
    """
    if found.setdefault(job.name, job).command != job.command:
        raise InputError(f"Two jobs of the sweep have the name {job.name!r}: write values as a list.")


def job_flags(config: SweepConfig, threads: int, dataset: str, name: str, flags: Mapping[str, str]) -> list[str]:
    """Return a command's flags, for an experiment of this name in the folder of the sweep."""
    own = {"dataset": dataset, "config": config.config, "device": config.device, "logbase": config.logbase}
    own |= {"exp_name": f"{config.name}/{name}", "suffix": "", "verbose": "false", "threads": str(threads)}
    return [f"--{key}={value}" for key, value in {**own, **flags}.items()]


def training_job(
    kind: Literal["train", "critic"],
    name: str,
    command: Command,
    argv: list[str],
    parameterization: str,
    folder: Path,
    estimate: Estimate,
    needs: tuple[str, ...] = (),
) -> Job:
    """Return the job of a training that leaves checkpoints in a folder."""
    return Job(
        name,
        kind,
        ("-m", command.module, *command.words, *argv),
        partial(command.is_done, argv, parameterization),
        needs,
        folder=folder,
        prepare=partial(set_aside_damaged, folder),
        seconds=estimate.seconds,
        is_measured=estimate.is_measured,
    )


def folder_of(arguments: Arguments, name: str | None = None) -> Path:
    """Return where a command with these flags writes; ``name`` takes the place of their experiment's name."""
    return Path(arguments["logbase"], dataset_folder(arguments["dataset"]), name or arguments["exp_name"])
