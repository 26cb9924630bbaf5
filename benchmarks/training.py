"""Seconds per training step, beside the time that its matrix products alone take, and where the rest goes.

Run ``python -m benchmarks.training`` from the clone: the paper's model and batch on hopper's sizes, with and without
dropout, and the small model of the ``cpu`` preset, on random tokens. With ``--precision bfloat16``, ``--compile true``
or ``--accumulate 4`` each model is also timed that way, in turns with the plain one, so that what else the machine does
falls on both.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from benchmarks.clock import now
from benchmarks.floor import MatrixProducts, Product, time_product
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.config.offline import SMALL_MODEL
from trajectory_adacat.datasets.sequences import Batch
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.ema import make_average
from trajectory_adacat.training.objective import Objective, TrainingPrecision
from trajectory_adacat.training.optimizer import OPTIMIZERS, OptimizerKind, make_optimizers

NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
SMALL = {field.name: SMALL_MODEL[field.name] for field in dataclasses.fields(GPTConfig) if field.name in SMALL_MODEL}
MIB = 2**20


class Case(NamedTuple):
    """A model, its batch and its optimizer."""

    name: str
    form: dict
    batch_size: int
    optimizer: OptimizerKind


CASES = {
    "paper": Case("paper, dropout 0.1", {}, 256, "adamw"),
    "attention": Case("paper, dropout 0.1 but in the attention", {"attn_pdrop": 0.0}, 256, "adamw"),
    "dropout": Case("paper, dropout 0", NO_DROPOUT, 256, "adamw"),
    "cpu": Case(
        "preset `cpu`",
        {**SMALL, "n_transitions": SMALL_MODEL["subsampled_sequence_length"]},
        SMALL_MODEL["batch_size"],
        SMALL_MODEL["optimizer"],
    ),
}
STAGES = ("loss %", "gradient %", "optimizer %", "average %")
HEADER = (
    *("model", "way", "parameters", "first step (s)", "s/step", "to plain", "tokens/s", "floor s/step"),
    *("ratio to floor", "kept for the gradient (MiB)", *STAGES),
)


class TrainingArguments(CommandParser):
    """Time training steps."""

    models: list[str] = list(
        CASES
    )  # which of paper, attention (paper without dropout there), dropout (without any), cpu
    precision: Literal["float32", "bfloat16"] = "float32"  # of the blocks' matrix products
    compile: bool = False  # compile the model without its heads by torch.compile
    accumulate: int = 1  # parts in which the batch is computed
    batch_size: int | None = None  # sequences in a step, in place of each model's own
    repeats: int = 3  # timings of each, of which the shortest counts
    threads: int = 1  # threads of this process


class Way(NamedTuple):
    """How a step is computed."""

    precision: TrainingPrecision
    compile: bool
    accumulate: int

    def __str__(self) -> str:
        parts = f", {self.accumulate} parts" if self.accumulate > 1 else ""
        return f"{self.precision}{', compiled' if self.compile else ''}{parts}"


PLAIN = Way("float32", False, 1)


class Steps:
    """Training steps of one model in one way, as the trainer takes them.

    Attributes:
        first_seconds: what the first step took by the clock on the wall, compilation included.
        kept: bytes that the loss of a part keeps for its gradient, the weights left out.
        seconds: the shortest step's duration.
        stages: its durations by `STAGES`.
    """

    def __init__(self, case: Case, way: Way, batch_size: int) -> None:
        torch.manual_seed(0)
        self.model = GPT(build(GPTConfig, {"observation_size": 11, "action_size": 3, **case.form}))
        self._objective = Objective(self.model, LossConfig(), way.precision, way.compile)
        self._optimizers = make_optimizers(self.model, OPTIMIZERS[case.optimizer]())
        self._average = make_average(self.model, 0.995)
        tokens = torch.rand(batch_size, self.model.config.block_size + 1)
        self.n_tokens, self._batch_size = tokens.numel(), batch_size
        parts = tokens.tensor_split(min(way.accumulate, batch_size))
        self._parts = [Batch(part, torch.ones_like(part, dtype=torch.bool)) for part in parts]
        self.seconds, self.stages = math.inf, [0.0] * len(STAGES)
        started = time.perf_counter()
        self.step()
        self.first_seconds = time.perf_counter() - started
        self.kept = self._bytes_kept()

    def step(self) -> None:
        """Takes a step and keeps its time if it is the shortest; clipping the gradient counts as the optimizer's."""
        self.model.zero_grad(set_to_none=True)
        marks, forward = [now()], 0.0
        for part in self._parts:
            started = now()
            loss = self._objective(part)
            forward += now() - started
            (loss * (len(part.tokens) / self._batch_size)).backward()
        marks.append(now())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        marks.append(now())
        self._average.update_parameters(self.model)
        marks.append(now())
        seconds = marks[-1] - marks[0]
        if seconds < self.seconds:
            self.seconds = seconds
            self.stages = [forward, marks[1] - marks[0] - forward, marks[2] - marks[1], marks[3] - marks[2]]

    def _bytes_kept(self) -> int:
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = self._objective(self._parts[0])  # held, so that no place is counted twice
        del loss
        return sum(kept.values())


class Floor:
    """The matrix products of a step and the shortest time that each was found to take on its own.

    Args:
        steps: not compiled ones; takes one of them.
    """

    def __init__(self, steps: Steps) -> None:
        with MatrixProducts() as products:
            steps.step()
        self._counts = products.counts
        self._shortest: dict[Product, float] = dict.fromkeys(self._counts, math.inf)

    def time(self) -> None:
        """Times each product once more."""
        self._shortest = {product: min(best, time_product(product)) for product, best in self._shortest.items()}

    @property
    def seconds(self) -> float:
        """The time that all of them take."""
        return sum(count * self._shortest[product] for product, count in self._counts.items())


def measure(case: Case, ways: Sequence[Way], batch_size: int, repeats: int) -> None:
    """Prints a line for each way; steps and floors are timed in turns."""
    made = {way: Steps(case, way, batch_size) for way in ways}
    timed = list(made.values())
    # Compiled products cannot be recorded; they are the same.
    recorded = [way._replace(compile=False) for way in ways]
    floors = [Floor(made.get(way) or Steps(case, way, batch_size)) for way in recorded]
    for _ in range(repeats):
        for steps, floor in zip(timed, floors, strict=True):
            steps.step()
            floor.time()
    for way, steps, floor in zip(ways, timed, floors, strict=True):
        n_parameters = sum(parameter.numel() for parameter in steps.model.parameters())
        columns = [case.name, str(way), f"{n_parameters:,}", f"{steps.first_seconds:.1f}", f"{steps.seconds:.3f}"]
        columns += [
            f"{steps.seconds / timed[0].seconds:.2f}",
            f"{steps.n_tokens / steps.seconds:,.0f}",
            f"{floor.seconds:.3f}",
        ]
        columns += [f"{steps.seconds / floor.seconds:.2f}", f"{steps.kept / MIB:.0f}"]
        columns += [f"{100 * stage / steps.seconds:.1f}" for stage in steps.stages]
        print("| " + " | ".join(columns) + " |", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, a model's lines when they are measured."""
    arguments = TrainingArguments().parse(argv)
    check_positive(arguments, "accumulate", "batch_size", "repeats", "threads")
    unknown = set(arguments.models) - CASES.keys()
    if unknown:
        raise InputError(f"--models knows {', '.join(CASES)}, not {', '.join(sorted(unknown))}.")
    torch.set_num_threads(arguments.threads)
    asked = Way(arguments.precision, arguments.compile, arguments.accumulate)
    ways = [PLAIN] if asked == PLAIN else [PLAIN, asked]
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for name in arguments.models:
        case = CASES[name]
        measure(case, ways, arguments.batch_size or case.batch_size, arguments.repeats)


if __name__ == "__main__":
    run_command(main)
