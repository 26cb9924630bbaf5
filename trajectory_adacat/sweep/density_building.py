"""Make the jobs of a sweep of density models from its settings: one training for each combination."""

from itertools import product

from trajectory_adacat.sweep.building import Command, add_job, folder_of, job_flags, training_job
from trajectory_adacat.sweep.density_estimate import DensityEstimator
from trajectory_adacat.sweep.grid import Combination, SweepConfig, label, texts
from trajectory_adacat.sweep.jobs import Job


class DensityBuilder:
    """Make the jobs of a sweep of density models.

    Args:
        config: the sweep.
        command: of the trainings.
        estimator: of durations.
        threads: of each process.
    """

    def __init__(self, config: SweepConfig, command: Command, estimator: DensityEstimator, threads: int = 1) -> None:
        self._config, self._command = config, command
        self._estimator, self._threads = estimator, threads

    def jobs(self) -> list[Job]:
        """Return the jobs; the first training of every method stands before the second ones.

        Raises:
            InputError: for a wrong flag, or two jobs of one name.
        """
        config = self._config
        config.check_flags({"train": self._command.flags})
        found: dict[str, Job] = {}
        for seed, dataset, form in product(config.seeds, config.datasets, config.parameterizations):
            for variant in config.variants_of(form):
                head = config.head(form, variant, "train", form)
                for flags in config.combinations("train", form, variant):
                    add_job(found, self._job(dataset, form, seed, head, flags))
        return list(found.values())

    def _job(self, dataset: str, form: str, seed: int, head: str, flags: Combination) -> Job:
        name = f"{label(head, flags)}_{seed}"
        own = {**texts(flags), "form": form, "seed": str(seed)}
        argv = job_flags(self._config, self._threads, dataset, name, own)
        arguments = self._command.resolve(argv, form)
        estimate = self._estimator.training(arguments)
        title, folder = f"train {dataset} {name}", folder_of(arguments)
        return training_job("train", title, self._command, argv, form, folder, estimate)
