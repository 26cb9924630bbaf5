"""Test likelihood of tables: AdaCat, uniform and quantile bins, a neural spline flow, and estimators.

Run ``python -m benchmarks.tabular_density`` from the repository, after ``make density-benchmark tables``. Finished
trainings are lines of ``<out>/density.jsonl`` and are not repeated; ``trajectory-adacat density table`` tabulates them.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.density import AdaCatDensity
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.tabular import TabularConfig
from trajectory_adacat.density.tabular_data import load_table
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult, load_density_results
from trajectory_adacat.provenance import git_revision, library_versions, processor
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_tabular import TabularArguments
from trajectory_adacat.settings import to_nested

OURS = (("small", "adacat"), ("small-published", "adacat"), ("small", "uniform"), ("small", "quantile"))  # preset, form
BANDWIDTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the kernel density, in standard deviations of a column
COMPONENTS = (5, 10, 20, 40, 80, 160)  # of the Gaussian mixture
SELECTION_ROWS = 1000  # validation rows by which the bandwidth is chosen
SPLINE = {"transforms": 3, "bins": 8, "batch_size": 512, "learning_rate": 2e-3}


class TabularDensityArguments(CommandParser):
    """Train every method on every table."""

    datasets: list[str] = ["ccpp", "casp", "grid"]  # tables
    seeds: list[int] = [0, 1, 2]  # training seeds; the kernel density has none
    data: Path = Path("data/tables")  # folder of the tables
    logbase: str = "logs/density"  # folder of the trainings
    out: Path = Path("results/density/tabular")  # folder of the results
    n_steps: int = 1000  # steps of our trainings; the flow has the time that AdaCat's takes


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing: our models and the flow of all seeds, then the estimators."""
    arguments = TabularDensityArguments().parse(argv)
    use_threads(1)
    tables = {dataset: load_table(dataset, arguments.data) for dataset in arguments.datasets}
    jobs = [(dataset, seed) for seed in arguments.seeds for dataset in arguments.datasets]
    for dataset, seed in jobs:
        for preset, form in OURS:
            train_ours(arguments, dataset, tables[dataset], preset, form, seed)
        compare(arguments, dataset, tables[dataset], seed, flow_of)
    for dataset, seed in jobs:
        compare(arguments, dataset, tables[dataset], seed, estimators_of)


def finished(arguments: TabularDensityArguments) -> list[DensityResult]:
    """Return the results so far."""
    return load_density_results([arguments.out]) if (arguments.out / RESULTS_FILE).exists() else []


def our_flags(arguments: TabularDensityArguments, dataset: str, preset: str, form: str, seed: int) -> list[str]:
    """Return the flags of one of our trainings."""
    flags = ["--dataset", dataset, "--preset", preset, "--form", form, "--seed", str(seed)]
    flags += ["--n_steps", str(arguments.n_steps), "--data", str(arguments.data), "--logbase", arguments.logbase]
    name = f"tabular/{preset}_{arguments.n_steps}/{form}_{seed}"
    return [*flags, "--exp_name", name, "--n_saves", "1", "--out", str(arguments.out), "--overwrite"]


def settings(flags: Sequence[str]) -> dict[str, Any]:
    """Return the nested settings of a training's method."""
    return to_nested(TabularArguments().parse(flags).settings(TabularConfig))


def find(
    results: Sequence[DensityResult], dataset: str, data: Splits, form: str, seed: int, method: Any
) -> DensityResult | None:
    """Return the result of a training on the same data."""
    key = (dataset, data.sha256, form, seed, method)
    for result in results:
        if (result.dataset, result.data["sha256"], result.form, result.seed, result.settings) == key:
            return result
    return None


def train_ours(
    arguments: TabularDensityArguments, dataset: str, data: Splits, preset: str, form: str, seed: int
) -> None:
    """Run one of our trainings, unless it is finished."""
    flags = our_flags(arguments, dataset, preset, form, seed)
    if find(finished(arguments), dataset, data, form, seed, settings(flags)) is None:
        density.main(["tabular", *flags])


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


Methods = Callable[[DensityResult, int], Iterator[Method]]


def compare(arguments: TabularDensityArguments, dataset: str, data: Splits, seed: int, methods: Methods) -> None:
    """Fit other methods to a table, unless they are finished."""
    flags = our_flags(arguments, dataset, *OURS[0], seed)
    ours = find(finished(arguments), dataset, data, OURS[0][1], seed, settings(flags))
    assert ours is not None  # it has just been trained
    for method in methods(ours, seed):
        if find(finished(arguments), dataset, data, method.form, seed, method.settings) is None:
            save(arguments.out, ours, method, data)
            print(f"{dataset}: {method.form}, seed {seed}")


def flow_of(ours: DensityResult, seed: int) -> Iterator[Method]:
    """Yield the neural spline flow."""
    budget = {"n_parameters": ours.n_parameters, "n_steps_of_adacat": ours.n_steps}
    yield Method("spline_flow", {**SPLINE, **budget}, lambda data: fit_spline_flow(data, ours, seed), ("zuko",))


def estimators_of(ours: DensityResult, seed: int) -> Iterator[Method]:
    """Yield this package's estimator and those of scikit-learn."""
    defaults = AdaCatDensity().get_params()
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


def fit_spline_flow(data: Splits, ours: DensityResult, seed: int) -> tuple[float, float, int, int, dict[str, float]]:
    """Train a neural spline flow with as many parameters and as much processor time as AdaCat's training."""
    torch.manual_seed(seed)
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
    """Fit Gaussian kernels of one bandwidth, chosen by the validation rows."""
    from sklearn.neighbors import KernelDensity

    chosen = data.validation[:SELECTION_ROWS]
    fitted = [KernelDensity(bandwidth=width, rtol=1e-4).fit(data.training) for width in BANDWIDTHS]
    scores = [float(estimator.score(chosen)) / len(chosen) for estimator in fitted]
    best = fitted[int(np.argmax(scores))]
    nll = -float(best.score(data.test)) / len(data.test)
    return nll, -max(scores), data.training.size, 0, {"bandwidth": BANDWIDTHS[int(np.argmax(scores))]}


if __name__ == "__main__":
    run_command(main)
