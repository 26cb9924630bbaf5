"""Test likelihood of tables: AdaCat, uniform and quantile bins, a neural spline flow, and scikit-learn's estimators.

Run ``python -m benchmarks.tabular_density`` from the repository, with ``zuko`` and ``scikit-learn`` installed. Finished
trainings are lines of ``<out>/density.jsonl`` and are not repeated; ``trajectory-adacat density table`` tabulates them.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
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
    """Run what is missing: our models and the flow of all seeds, then scikit-learn's estimators."""
    arguments = TabularDensityArguments().parse(argv)
    use_threads(1)
    jobs = [(dataset, seed) for seed in arguments.seeds for dataset in arguments.datasets]
    for dataset, seed in jobs:
        for preset, form in OURS:
            train_ours(arguments, dataset, preset, form, seed)
        compare(arguments, dataset, seed, with_flow)
    for dataset, seed in jobs:
        compare(arguments, dataset, seed, with_scikit_learn)


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


def find(results: Sequence[DensityResult], dataset: str, form: str, seed: int, method: Any) -> DensityResult | None:
    """Return the result of a training."""
    key = (dataset, form, seed, method)
    return next((found for found in results if (found.dataset, found.form, found.seed, found.settings) == key), None)


def train_ours(arguments: TabularDensityArguments, dataset: str, preset: str, form: str, seed: int) -> None:
    """Run one of our trainings, unless it is finished."""
    flags = our_flags(arguments, dataset, preset, form, seed)
    if find(finished(arguments), dataset, form, seed, settings(flags)) is None:
        density.main(["tabular", *flags])


def compare(arguments: TabularDensityArguments, dataset: str, seed: int, methods: "Methods") -> None:
    """Fit other methods to a table, unless they are finished."""
    data = load_table(dataset, arguments.data)
    flags = our_flags(arguments, dataset, *OURS[0], seed)
    ours = find(finished(arguments), dataset, OURS[0][1], seed, settings(flags))
    assert ours is not None  # it has just been trained
    for form, method, fit in methods(ours, seed):
        if find(finished(arguments), dataset, form, seed, method) is None:
            save(arguments.out, ours, form, method, fit, data)
            print(f"{dataset}: {form}, seed {seed}")


# Negative log-likelihoods of test and validation rows, numbers of parameters and of steps, further numbers.
Fit = Callable[[Splits], tuple[float, float, int, int, dict[str, float]]]
Method = tuple[str, dict[str, Any], Fit]  # name, settings, function
Methods = Callable[[DensityResult, int], Iterator[Method]]


def with_flow(ours: DensityResult, seed: int) -> Iterator[Method]:
    """Yield the neural spline flow."""
    budget = {"n_parameters": ours.n_parameters, "n_steps_of_adacat": ours.n_steps}
    yield "spline_flow", {**SPLINE, **budget}, lambda data: fit_spline_flow(data, ours, seed)


def with_scikit_learn(ours: DensityResult, seed: int) -> Iterator[Method]:
    """Yield the estimators: this package's, and those of scikit-learn."""
    yield "adacat_estimator", AdaCatDensity().get_params() | {"random_state": seed}, lambda data: fit_ours(data, seed)
    yield "gaussian_mixture", {"n_components": list(COMPONENTS)}, lambda data: fit_mixture(data, seed)
    if seed == 0:
        yield "kernel_density", {"bandwidths": list(BANDWIDTHS)}, fit_kernel_density


def save(out: Path, ours: DensityResult, form: str, method: dict[str, Any], fit: Fit, data: Splits) -> DensityResult:
    """Fit a method and write its result."""
    clocks = time.perf_counter(), time.process_time()
    nll, validation_nll, n_parameters, n_steps, measures = fit(data)
    result = DensityResult(
        experiment=ours.experiment,
        dataset=ours.dataset,
        form=form,
        seed=ours.seed,
        nll=nll,
        validation_nll=validation_nll,
        unit=ours.unit,
        n_parameters=n_parameters,
        n_outputs=None,
        n_steps=n_steps,
        seconds={"wall": time.perf_counter() - clocks[0], "cpu": time.process_time() - clocks[1]},
        settings=method,
        data=ours.data,
        versions={**library_versions(), "processor": processor()},
        git_revision=git_revision(),
        measures=measures,
    )
    result.save(out)
    return result


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
