"""Test likelihood of tables by other methods than the package's presets: a neural spline flow, and estimators.

After ``make density-benchmark tables`` and ``trajectory-adacat sweep --preset density-tabular``, run ``python -m
benchmarks.tabular_density`` from the repository. The flow's budget comes from AdaCat's results of the sweep. Finished
trainings are lines of ``<out>/density.jsonl`` and are not repeated; ``trajectory-adacat density table`` tabulates them.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.density import AdaCatDensity
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.tabular_data import load_table
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult, load_density_results
from trajectory_adacat.provenance import git_revision, library_versions, processor

BANDWIDTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the kernel density, in standard deviations of a column
COMPONENTS = (5, 10, 20, 40, 80, 160)  # of the Gaussian mixture
SELECTION_ROWS = 1000  # first validation rows, by which the bandwidth is chosen
SPLINE = {"transforms": 3, "bins": 8, "batch_size": 512, "learning_rate": 2e-3}


class TabularDensityArguments(CommandParser):
    """Train the other methods on every table."""

    datasets: list[str] = ["ccpp", "casp", "grid"]  # tables
    seeds: list[int] = [0, 1, 2]  # training seeds; the kernel density has none
    data: Path = Path("data/tables")  # folder of the tables
    ours: Path = Path("logs/density/sweeps/density-tabular")  # folder of AdaCat's results, which give the flow's budget
    out: Path = Path("results/density/tabular")  # folder of the results


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing: the flow beside each of AdaCat's trainings, then the estimators."""
    arguments = TabularDensityArguments().parse(argv)
    use_threads(1)
    tables = {dataset: load_table(dataset, arguments.data) for dataset in arguments.datasets}
    ours = load_ours(arguments.ours, tables, arguments.seeds)
    for result in ours:
        compare(arguments.out, tables[result.dataset], result, flow_of)
    for result in {(result.dataset, result.seed): result for result in ours}.values():
        compare(arguments.out, tables[result.dataset], result, estimators_of)


def load_ours(folder: Path, tables: Mapping[str, Splits], seeds: Sequence[int]) -> list[DensityResult]:
    """Return the results of annealed AdaCat on these tables, of any number of steps.

    Raises:
        InputError: if a table has none with one of the seeds.
    """
    results = [result for result in load_density_results([folder]) if result.form == "adacat"]
    annealed = [result for result in results if result.settings["model"]["form"]["smooth_start"] is not None]
    found = []
    for seed, (dataset, data) in itertools.product(seeds, tables.items()):
        key = (dataset, data.sha256, seed)
        same = [result for result in annealed if (result.dataset, result.data["sha256"], result.seed) == key]
        if not same:
            raise InputError(
                f"{folder} has no result of annealed AdaCat on {dataset} as it is now, seed {seed}: "
                "run trajectory-adacat sweep --preset density-tabular first."
            )
        found += same
    return found


def is_finished(out: Path, ours: DensityResult, method: "Method") -> bool:
    """Return whether there is a result of the method with the data and the seed of ours."""
    results = load_density_results([out]) if (out / RESULTS_FILE).exists() else []
    key = (ours.dataset, ours.data["sha256"], method.form, ours.seed, method.settings)
    return any(
        (result.dataset, result.data["sha256"], result.form, result.seed, result.settings) == key for result in results
    )


@dataclass(frozen=True)
class Method:
    """A method that the presets do not have.

    Attributes:
        form: its name.
        settings: what it is pooled by.
        fit: returns negative log-likelihoods of test and validation rows, numbers of parameters and of steps, and
            further numbers.
        libraries: that it comes from.
        n_outputs: numbers that it gives for each conditional density; None where it has no such number.
    """

    form: str
    settings: dict[str, Any]
    fit: Callable[[Splits], tuple[float, float, int, int, dict[str, float]]]
    libraries: tuple[str, ...] = ()
    n_outputs: int | None = None


Methods = Callable[[DensityResult], Iterator[Method]]


def compare(out: Path, data: Splits, ours: DensityResult, methods: Methods) -> None:
    """Fit other methods to a table, unless they are finished."""
    for method in methods(ours):
        if not is_finished(out, ours, method):
            save(out, ours, method, data)
            print(f"{ours.dataset}: {method.form}, seed {ours.seed}")


def flow_of(ours: DensityResult) -> Iterator[Method]:
    """Yield the neural spline flow."""
    budget = {"n_parameters": ours.n_parameters, "n_steps_of_adacat": ours.n_steps}
    yield Method("spline_flow", {**SPLINE, **budget}, lambda data: fit_spline_flow(data, ours), ("zuko",))


def estimators_of(ours: DensityResult) -> Iterator[Method]:
    """Yield this package's estimator and those of scikit-learn."""
    seed, defaults = ours.seed, AdaCatDensity().get_params()
    del defaults["random_state"]  # the seed: trainings of equal settings are pooled
    yield Method("adacat_estimator", defaults, lambda data: fit_ours(data, seed), n_outputs=2 * defaults["k"])
    mixture = {"n_components": list(COMPONENTS)}
    yield Method("gaussian_mixture", mixture, lambda data: fit_mixture(data, seed), ("scikit-learn",))
    if seed == 0:
        yield Method("kernel_density", {"bandwidths": list(BANDWIDTHS)}, fit_kernel_density, ("scikit-learn",))


def save(out: Path, ours: DensityResult, method: Method, data: Splits) -> None:
    """Fit a method and write its result."""
    clocks = time.perf_counter(), time.process_time()
    nll, validation_nll, n_parameters, n_steps, measures = method.fit(data)
    result = DensityResult(
        experiment=ours.experiment,
        dataset=ours.dataset,
        form=method.form,
        seed=ours.seed,
        nll=nll,
        validation_nll=validation_nll,
        unit=ours.unit,
        n_parameters=n_parameters,
        n_outputs=method.n_outputs,
        n_steps=n_steps,
        seconds={"wall": time.perf_counter() - clocks[0], "cpu": time.process_time() - clocks[1]},
        settings=method.settings,
        data=ours.data,
        versions={**library_versions(*method.libraries), "processor": processor()},
        git_revision=git_revision(),
        measures=measures,
    )
    result.save(out)


def spline_flow(n_columns: int, n_parameters: int) -> Any:
    """Return an autoregressive neural spline flow with the number of parameters nearest to the wished one."""
    import zuko

    def make(hidden: int) -> Any:
        bins, transforms = int(SPLINE["bins"]), int(SPLINE["transforms"])
        return zuko.flows.NSF(n_columns, bins=bins, transforms=transforms, hidden_features=(hidden, hidden))

    def distance(hidden: int) -> int:
        return abs(sum(parameter.numel() for parameter in make(hidden).parameters()) - n_parameters)

    return make(min(range(8, 400, 4), key=distance))


def fit_spline_flow(data: Splits, ours: DensityResult) -> tuple[float, float, int, int, dict[str, float]]:
    """Train a neural spline flow with as many parameters and as much processor time as AdaCat's training."""
    torch.manual_seed(ours.seed)
    training, validation, test = (
        torch.from_numpy(part).float() for part in (data.training, data.validation, data.test)
    )
    flow = spline_flow(training.shape[1], ours.n_parameters)
    optimizer = torch.optim.Adam(flow.parameters(), SPLINE["learning_rate"])

    def nll(rows: torch.Tensor) -> float:
        with torch.no_grad():
            return -float(torch.cat([flow().log_prob(part) for part in rows.split(4096)]).double().mean())

    started, step, share, checks = time.process_time(), 0, 0.0, 0
    best, weights = float("inf"), copy.deepcopy(flow.state_dict())
    while share < 1.0:
        batch = training[torch.randint(len(training), (int(SPLINE["batch_size"]),))]
        for group in optimizer.param_groups:
            group["lr"] = SPLINE["learning_rate"] * 0.5 * (1.0 + np.cos(np.pi * share))
        optimizer.zero_grad()
        loss = -flow().log_prob(batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        step += 1
        share = (time.process_time() - started) / ours.seconds["cpu"]
        if share * 20 > checks + 1 or share >= 1.0:
            checks = int(share * 20)
            found = nll(validation)
            if found < best:
                best, weights = found, copy.deepcopy(flow.state_dict())
    flow.load_state_dict(weights)
    return nll(test), best, sum(parameter.numel() for parameter in flow.parameters()), step, {}


def fit_ours(data: Splits, seed: int) -> tuple[float, float, int, int, dict[str, float]]:
    """Fit `AdaCatDensity` with its defaults; it holds out rows of its own from those of training and validation."""
    density = AdaCatDensity(random_state=seed).fit(np.concatenate([data.training, data.validation]))
    n_parameters = sum(parameter.numel() for parameter in density.model_.parameters())
    return -density.score(data.test) / len(data.test), density.validation_nll_, n_parameters, density.n_steps_, {}


def fit_mixture(data: Splits, seed: int) -> tuple[float, float, int, int, dict[str, float]]:
    """Fit Gaussian mixtures, and choose their number of components by the validation rows."""
    from sklearn.mixture import GaussianMixture

    fitted = [GaussianMixture(count, random_state=seed).fit(data.training) for count in COMPONENTS]
    scores = [float(mixture.score(data.validation)) for mixture in fitted]
    best = fitted[int(np.argmax(scores))]
    n, columns = best.n_components, data.training.shape[1]
    n_parameters = n * (columns + columns * (columns + 1) // 2) + n - 1
    return -float(best.score(data.test)), -max(scores), n_parameters, best.n_iter_, {"components": float(n)}


def fit_kernel_density(data: Splits) -> tuple[float, float, int, int, dict[str, float]]:
    """Fit Gaussian kernels of one bandwidth, chosen by the first `SELECTION_ROWS` validation rows."""
    from sklearn.neighbors import KernelDensity

    chosen = data.validation[:SELECTION_ROWS]
    fitted = [KernelDensity(bandwidth=width, rtol=1e-4).fit(data.training) for width in BANDWIDTHS]
    scores = [float(estimator.score(chosen)) / len(chosen) for estimator in fitted]
    best = fitted[int(np.argmax(scores))]
    nll = -float(best.score(data.test)) / len(data.test)
    return nll, -max(scores), data.training.size, 0, {"bandwidth": BANDWIDTHS[int(np.argmax(scores))]}


if __name__ == "__main__":
    run_command(main)
