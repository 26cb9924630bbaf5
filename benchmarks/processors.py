"""Train and plan with two sets of vector instructions, and print how far weights, losses and returns differ.

    python -m benchmarks.processors --seed 1 --critic results/models/hopper-medium-collected/seed_1/critic

Each training and each plan is a process with another ``ATEN_CPU_CAPABILITY`` (``default``: no vector instructions),
which stands for another processor. Only torch's own loops follow it: MKL and oneDNN choose their instructions
themselves. Everything is written below ``--logbase``; a command that is repeated does what is missing, then prints the
tables.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trajectory_adacat.checkpoint import checkpoint_name, find_checkpoint, read_description, read_tensors
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.statistics import standard_error
from trajectory_adacat.training.logger import read_metrics

LOSSES = ("loss", "held_out/all", "held_out_ema/all")
N_SAVES = 3


class ProcessorArguments(CommandParser):
    """Train and plan with two sets of vector instructions, and print how far weights, losses and returns differ."""

    capabilities: list[str] = ["default", "avx2"]  # two values of ATEN_CPU_CAPABILITY: default, avx2, avx512
    dataset: str = "hopper-medium-collected"  # dataset, as train takes it
    preset: str = "demo"  # settings of the training and of the search
    n_steps: int = 300  # steps of a training; a multiple of 3
    seed: int = 0  # of both trainings
    n_rollouts: int = 10  # rollouts of each model
    critic: Path | None = None  # checkpoint of a critic of the same data that scores; by default the value tokens score
    crossed: bool = False  # also plan with each model by the other's instructions
    logbase: Path = Path("processors")  # folder of the checkpoints and results

    @property
    def folder(self) -> Path:
        """Folder of the dataset's experiments."""
        return self.logbase / self.dataset

    def model(self, capability: str) -> Path:
        """Return the folder of a training."""
        return self.folder / "models" / capability

    def plans(self, model: str, capability: str) -> Path:
        """Return the folder of the rollouts of one training's model."""
        return self.folder / "plans" / model / capability

    def planned_with(self, model: str) -> list[str]:
        """Return the sets of instructions with which a training's model plans."""
        return self.capabilities if self.crossed else [model]


def run(module: str, flags: Sequence[str], capability: str) -> None:
    """Run one of the package's scripts.

    Raises:
        InputError: if it fails.
    """
    command = [sys.executable, "-m", f"trajectory_adacat.scripts.{module}", *flags, "--verbose", "false"]
    status = subprocess.run(command, env={**os.environ, "ATEN_CPU_CAPABILITY": capability}, check=False).returncode
    if status:
        raise InputError(f"{module} with {capability} ended with status {status}.")


def train(arguments: ProcessorArguments, common: Sequence[str], capability: str) -> None:
    """Train the model of a set of instructions, unless that is done."""
    folder = arguments.model(capability)
    if (folder / checkpoint_name(arguments.n_steps)).exists():
        return
    saved = arguments.n_steps // N_SAVES
    flags = ["--n_steps", arguments.n_steps, "--n_saves", N_SAVES, "--log_freq", saved, "--seed", arguments.seed]
    resume = ["--resume"] if any(folder.glob("step_*")) else []
    run("train", [*common, "--exp_name", f"models/{capability}", *map(str, flags), *resume], capability)


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the largest difference of two models' weights, each in units of the largest weight of its tensor."""
    return max(
        float((tensor - second[name]).abs().max() / tensor.abs().max().clamp(min=1e-30))
        for name, tensor in first.items()
    )


def compare_models(arguments: ProcessorArguments) -> list[list[Any]]:
    """Return a row for each checkpoint: the step, the difference of the weights, and both trainings' losses."""
    folders = [arguments.model(capability) for capability in arguments.capabilities]
    logs = [{line["step"]: line for line in read_metrics(folder)} for folder in folders]
    rows = []
    for step in range(arguments.n_steps // N_SAVES, arguments.n_steps + 1, arguments.n_steps // N_SAVES):
        paths = [folder / checkpoint_name(step) for folder in folders]
        first, second = (read_tensors(path, "model.safetensors", read_description(path)) for path in paths)
        difference = f"{100 * largest_difference(first, second):.3g} %"
        losses = [" / ".join(f"{log[step][name]:.4f}" for log in logs) for name in LOSSES]
        rows.append([step, difference, *losses])
    return rows


def returns(folder: Path) -> list[float]:
    """Return the returns of a folder's rollouts, in the order of their seeds."""
    found = sorted(load_results([folder]).values(), key=lambda result: result.rollout_seed)
    return [result.return_ for result in found]


def compare_returns(arguments: ProcessorArguments) -> list[list[Any]]:
    """Return a row for each model and set of instructions: the mean of the returns, and the returns."""
    rows = []
    for model in arguments.capabilities:
        for capability in arguments.planned_with(model):
            found = returns(arguments.plans(model, capability))
            error = standard_error(found)
            mean = f"{np.mean(found):.0f}" + ("" if error is None else f" ± {error:.0f}")
            rows.append([model, capability, mean, " ".join(f"{value:.0f}" for value in found)])
    return rows


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table in Markdown."""
    for row in [header, ["---"] * len(header), *rows]:
        print(f"| {' | '.join(map(str, row))} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, plan, and print the tables.

    Raises:
        InputError: for bad flags, or if a training or a plan fails.
    """
    arguments = ProcessorArguments().parse(argv)
    check_positive(arguments, "n_steps", "n_rollouts")
    if len({*arguments.capabilities}) != 2 or arguments.n_steps % N_SAVES:
        raise InputError(f"Give two --capabilities, and --n_steps as a multiple of {N_SAVES}.")
    names = ("dataset", "preset", "logbase")
    common = [text for name in names for text in (f"--{name}", str(getattr(arguments, name)))]
    for capability in arguments.capabilities:
        train(arguments, common, capability)
    scorer = [] if arguments.critic is None else ["--critic", str(arguments.critic.absolute())]
    for model in arguments.capabilities:
        print(f"{model}: {read_description(find_checkpoint(arguments.model(model)))['processor']}", flush=True)
        for capability in arguments.planned_with(model):
            flags = ["--gpt_loadpath", f"models/{model}", "--exp_name", f"plans/{model}/{capability}", "--resume"]
            run("plan", [*common, *flags, *scorer, "--n_rollouts", str(arguments.n_rollouts)], capability)
    both = " / ".join(arguments.capabilities)
    print_table(["step", "weights differ by", *(f"{name}: {both}" for name in LOSSES)], compare_models(arguments))
    print_table(["model of", "planned with", "return", "of each rollout"], compare_returns(arguments))


if __name__ == "__main__":
    run_command(main)
