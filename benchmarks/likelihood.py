"""Held-out likelihood by number of training steps: AdaCat with and without annealed smoothing, uniform, quantile.

Run ``python -m benchmarks.likelihood`` from the repository. Each number of steps is a training of its own, whose
schedules end with it. Finished trainings are lines of ``<out>/likelihood.jsonl`` and are not repeated; an interrupted
one goes on from its last checkpoint. The table and the figures are made from that file alone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.provenance import git_revision, processor
from trajectory_adacat.training.logger import read_metrics

ROOT = Path(__file__).parents[1]
GROUPS = ("observation", "action", "reward", "value", "all")
FORMS: dict[str, list[str]] = {
    "AdaCat, annealed": ["--smooth_start", "0.2", "--smooth_bins", "1"],
    "AdaCat, constant kernel": ["--smooth_start", "none", "--smooth_bins", "0"],  # the paper's smoothing
    "uniform": ["--parameterization", "uniform"],
    "quantile": ["--parameterization", "quantile"],
}
DATASETS = ["hopper-medium-collected", "halfcheetah-medium-collected", "walker2d-medium-collected"]


class LikelihoodArguments(CommandParser):
    """Train at several numbers of steps and compare held-out likelihoods."""

    datasets: list[str] = DATASETS  # datasets
    forms: list[str] = list(FORMS)  # forms of the outputs
    steps: list[int] = [500, 1000, 2500, 5000, 10000]  # numbers of training steps
    seeds: list[int] = [100]  # training seeds
    preset: str = "cpu"  # preset of the trainings
    logbase: str = "logs/likelihood"  # folder of the trainings
    out: Path = Path("results/training")  # folder of the results, the table and the figures
    processes: int = 1  # trainings side by side, one thread each
    device: str = "cpu"  # of the trainings
    draw_only: bool = False  # make table and figures from the finished trainings


class Job(NamedTuple):
    """A training."""

    dataset: str
    form: str
    steps: int
    seed: int

    def flags(self, preset: str) -> list[str]:
        """Return the flags of its method."""
        flags = ["--dataset", self.dataset, "--preset", preset, "--n_steps", str(self.steps), "--seed", str(self.seed)]
        return flags + FORMS[self.form]

    def name(self, preset: str) -> str:
        """Return the experiment's name."""
        return f"{preset}/{self.form.replace(', ', '-').replace(' ', '-')}_{self.steps}_seed{self.seed}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, then write table and figures."""
    arguments = LikelihoodArguments().parse(argv)
    unknown = [form for form in arguments.forms if form not in FORMS]
    if unknown:
        raise InputError(f"--forms {unknown[0]!r} is unknown; there are {', '.join(map(repr, FORMS))}.")
    file = arguments.out / "likelihood.jsonl"
    if not arguments.draw_only:
        run_missing(arguments, file)
    records = read_records(file)
    if not records:
        raise InputError(f"{file} holds no finished training.")
    (arguments.out / "likelihood.md").write_text(markdown(records))
    draw(records, ("all",)).savefig(arguments.out / "likelihood.png", dpi=150)
    draw(records, GROUPS).savefig(arguments.out / "likelihood_by_group.png", dpi=120)
    print(markdown(records))


def run_missing(arguments: LikelihoodArguments, file: Path) -> None:
    """Run the trainings that have no line in ``file``, the shortest first.

    Raises:
        InputError: at the end, if trainings failed.
    """
    jobs = [
        Job(dataset, form, steps, seed)
        for steps in sorted(arguments.steps)
        for seed in arguments.seeds
        for dataset in arguments.datasets
        for form in arguments.forms
    ]
    done = [record["flags"] for record in read_records(file)]
    missing = [job for job in jobs if job.flags(arguments.preset) not in done]
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        ThreadPoolExecutor(arguments.processes) as pool,
        tqdm(total=sum(job.steps for job in missing), desc="likelihood", unit="step") as progress,
    ):
        futures = {pool.submit(run, job, arguments.preset, arguments.logbase, arguments.device): job for job in missing}
        failures = []
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    with file.open("a") as stream:
                        stream.write(json.dumps(future.result()) + "\n")
                else:
                    failures.append(str(error))
                progress.update(futures[future].steps)
        except BaseException:  # an interruption: start no more of them
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise InputError("\n".join(failures))


def run(job: Job, preset: str, logbase: str, device: str) -> dict[str, Any]:
    """Train in a process of its own; return the record of its last step.

    Raises:
        InputError: if the training fails.
    """
    name, flags = job.name(preset), job.flags(preset)
    folder = Path(logbase) / job.dataset / name
    where = ["--device", device, "--logbase", logbase, "--exp_name", name, "--suffix", ""]
    where += ["--threads", "1", "--verbose", "false"]
    where += ["--n_saves", str(max(1, job.steps // 1000)), "--log_freq", str(max(50, job.steps // 20))]
    where += ["--resume"] if list(folder.glob("step_*")) else []
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags, *where]
    ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        raise InputError(f"{' '.join(command)} failed:\n{ended.stderr}")
    last = read_metrics(folder)[-1]
    return {
        **job._asdict(),
        "ema": {group: last[f"held_out_ema/{group}"] for group in GROUPS},
        "raw": {group: last[f"held_out/{group}"] for group in GROUPS},
        "behavior_action": last.get("behavior/action"),
        "seconds_per_step": last["seconds_per_step"],
        "flags": flags,
        "processor": processor(device),
        "git_revision": git_revision(),
    }


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the finished trainings."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def mean_over_seeds(records: Iterable[dict[str, Any]], dataset: str, form: str, steps: int, group: str) -> float | None:
    """Return the mean held-out negative log-likelihood of the moving average of the weights; None without trainings."""
    key = (dataset, form, steps)
    found = [r["ema"][group] for r in records if (r["dataset"], r["form"], r["steps"]) == key]
    return float(np.mean(found)) if found else None


def _values(records: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return sorted({record[key] for record in records})


def _forms(records: Iterable[dict[str, Any]]) -> list[str]:
    return [form for form in FORMS if form in _values(records, "form")]


def markdown(records: list[dict[str, Any]]) -> str:
    """Return a table: a row for each dataset, number of steps and form, a column for each group of dimensions."""
    lines = [f"| dataset | steps | form | trainings | {' | '.join(GROUPS)} |", "|---" * (4 + len(GROUPS)) + "|"]
    for dataset in _values(records, "dataset"):
        for steps in _values(records, "steps"):
            for form in _forms(records):
                n = sum((r["dataset"], r["form"], r["steps"]) == (dataset, form, steps) for r in records)
                if n:
                    numbers = [mean_over_seeds(records, dataset, form, steps, group) for group in GROUPS]
                    cells = [dataset, str(steps), form, str(n), *(f"{number:.2f}" for number in numbers)]
                    lines.append(f"| {' | '.join(cells)} |")
        floors = [record["behavior_action"] for record in records if record["dataset"] == dataset]
        known = [floor for floor in floors if floor is not None]
        if known:
            lines.append(f"| {dataset} | | the behaviour's own actions | | | {np.mean(known):.2f} | | | |")
    return "\n".join(lines) + "\n"


def draw(records: list[dict[str, Any]], groups: Sequence[str]) -> Any:
    """Draw likelihood over steps, a row of axes for each group and a column for each dataset."""
    from matplotlib.figure import Figure  # slow to import

    datasets = _values(records, "dataset")
    size = (3.4 * len(datasets) + 1.6, 2.4 * len(groups) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(groups), len(datasets), squeeze=False, sharex=True)
    for row, group in zip(axes, groups, strict=True):
        for axis, dataset in zip(row, datasets, strict=True):
            _draw_panel(axis, records, dataset, group)
        row[0].set_ylabel(f"{group}\n(nats per dimension)")
    for axis, dataset in zip(axes[0], datasets, strict=True):
        axis.set_title(dataset, fontsize="small")
    for axis in axes[-1]:
        axis.set_xlabel("training steps")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return figure


def _draw_panel(axis: Any, records: list[dict[str, Any]], dataset: str, group: str) -> None:
    for form, marker in zip(_forms(records), "os^v", strict=False):
        points = [(steps, mean_over_seeds(records, dataset, form, steps, group)) for steps in _values(records, "steps")]
        known = [(steps, value) for steps, value in points if value is not None]
        axis.plot(*zip(*known, strict=True) if known else ([], []), marker=marker, label=form)
    floors = [r["behavior_action"] for r in records if r["dataset"] == dataset and r["behavior_action"] is not None]
    if group == "action" and floors:
        axis.axhline(float(np.mean(floors)), linestyle="--", color="grey")
        axis.text(0.98, float(np.mean(floors)), "behaviour", transform=axis.get_yaxis_transform(), ha="right")
    axis.set_xscale("log")
    axis.grid(alpha=0.3)


if __name__ == "__main__":
    run_command(main)
