"""Gather the results of density models by method, and read the paper's own figures."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trajectory_adacat.evaluation.density_results import DensityResult, load_density_results
from trajectory_adacat.evaluation.statistics import Summary, summarize

PUBLISHED = Path(__file__).with_name("published_density.json")
NAMES = {"adacat": "AdaCat", "adacat_estimator": "AdaCatDensity"}  # the others': that of the file, with spaces


@dataclass(frozen=True)
class DensityGroup:
    """The trainings of one method on one dataset.

    Attributes:
        experiment: such as ``tabular``.
        dataset: the dataset's name.
        label: the method's name.
        results: of each training.
        summary: of the test negative log-likelihood; the training is the unit.
    """

    experiment: str
    dataset: str
    label: str
    results: list[DensityResult]
    summary: Summary

    @property
    def n_outputs(self) -> int | None:
        """Outputs for each conditional density."""
        return self.results[0].n_outputs

    def count_range(self, name: Literal["n_parameters", "n_steps"]) -> str:
        """Return a count of the trainings as text, or the smallest and the largest: ``1,234`` or ``645-2,170``."""
        counts = [getattr(result, name) for result in self.results]
        return "-".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))

    def measure(self, name: str) -> float | None:
        """Return the mean over trainings of a further number, such as ``mcd``; None if a training lacks it."""
        found = [result.measures[name] for result in self.results if name in result.measures]
        return sum(found) / len(found) if len(found) == len(self.results) else None

    @property
    def mcd(self) -> float | None:
        """The mean mel-cepstral distance in dB; None if a training lacks it, or trainings synthesized other clips."""
        has_same_clips = all(result.sampling == self.results[0].sampling for result in self.results)
        return self.measure("mcd") if has_same_clips else None

    @property
    def mu_law_nll(self) -> float | None:
        """The test negative log-likelihood of the mu-law values of audio; None for other data."""
        shift = self.measure("mu_law_shift")
        return None if shift is None else self.summary.mean + shift


def gather_density(paths: Iterable[Path]) -> list[DensityGroup]:
    """Return the groups of trainings whose data and settings are equal, the best of each dataset first."""
    groups: dict[str, list[DensityResult]] = defaultdict(list)
    for result in load_density_results(paths):
        named = [result.experiment, result.dataset, result.data, result.form, result.settings]
        groups[json.dumps(named, sort_keys=True)].append(result)
    found = []
    for results in groups.values():
        first = results[0]
        summary = summarize([[result.nll] for result in results])
        found.append(DensityGroup(first.experiment, first.dataset, label(first), results, summary))
    return sorted(found, key=lambda group: (group.experiment, group.dataset, group.summary.mean))


def label(result: DensityResult) -> str:
    """Return the method's name, which says how AdaCat's targets were smoothed."""
    name = NAMES.get(result.form, result.form.replace("_", " "))
    model: dict[str, Any] = result.settings.get("model", {})
    if result.experiment in ("tabular", "audio") and result.form == "adacat":
        start = model.get("form", {}).get("smooth_start")
        return f"{name}, {'published smoothing' if start is None else 'annealed'}"
    return f"{name}, annealed" if model.get("interval_start") is not None else name


def published_figures(experiment: str) -> list[dict[str, Any]]:
    """Return the paper's figures of an experiment: dataset, form, outputs and nll; for audio also mu_law_nll, mcd."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8")).get(experiment, {}).get("figures", [])


def published_source() -> str:
    """Return where the paper's figures come from."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))["source"]
