"""Seconds per training step, compared with the time of its matrix products alone.

Run ``python -m benchmarks.training`` from the repository. Models: the paper's with its batch, with and without dropout,
at the sizes of hopper; and the small model of the preset ``cpu``. Tokens are random. ``--precision bfloat16``,
``--compile true`` or ``--accumulate 4`` adds a variant, timed alternately with the plain one, so that the load of the
machine affects both. ``--device cuda`` times a GPU.
"""

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
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.config.offline import SCALAR_INPUTS, SMALL_MODEL
from trajectory_adacat.datasets.sequences import Batch
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.ema import make_ema
from trajectory_adacat.training.objective import Objective, TrainingPrecision
from trajectory_adacat.training.optimizer import OPTIMIZERS, make_optimizers

NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
MIB = 2**20


class Case(NamedTuple):
    """A model with its batch size and optimizer."""

    name: str
    form: dict
    batch_size: int
    optimizer: str


CASES = {
    "paper": Case("paper, dropout 0.1", {}, 256, "adamw"),
    "attention": Case("paper, dropout 0.1 but in the attention", {"attn_pdrop": 0.0}, 256, "adamw"),
    "dropout": Case("paper, dropout 0", NO_DROPOUT, 256, "adamw"),
    "cpu": Case(
        "preset `cpu`",
        {**SMALL_MODEL, **SCALAR_INPUTS, "n_transitions": SMALL_MODEL["subsampled_sequence_length"]},
        SMALL_MODEL["batch_size"],
        SMALL_MODEL["optimizer"],
    ),
}
STAGES = ("forward %", "backward %", "optimizer %", "EMA %")
HEADER = (
    *("model", "variant", "parameters", "first step (s)", "s/step", "ratio to plain", "tokens/s", "floor s/step"),
    *("ratio to floor", "saved for backward (MiB)", *STAGES),
)


class TrainingArguments(CommandParser):
    """Time training steps."""

    models: list[str] = list(CASES)  # of: paper, attention (no attention dropout), dropout (no dropout), cpu
    precision: Literal["float32", "bfloat16"] = "float32"  # of the blocks' matrix products
    compile: bool = False  # compile the model without its heads by torch.compile
    accumulate: int = 1  # micro-batches per step
    batch_size: int | None = None  # sequences per step; default: each model's own
    repeats: int = 3  # timings of each variant; the minimum is reported
    threads: int = 1  # number of threads
    device: str = "cpu"  # cpu, cuda or cuda:<n>


class Variant(NamedTuple):
    """Settings that change how a step is computed."""

    precision: TrainingPrecision
    compile: bool
    accumulate: int

    def __str__(self) -> str:
        accumulated = f", {self.accumulate} micro-batches" if self.accumulate > 1 else ""
        return f"{self.precision}{', compiled' if self.compile else ''}{accumulated}"


PLAIN = Variant("float32", False, 1)


class Steps:
    """Timed training steps of one variant of a model, as the trainer computes them.

    Attributes:
        first_seconds: wall-clock time of the first step, with compilation.
        saved_bytes: memory saved for the backward pass of one micro-batch, without the weights.
        seconds: duration of the fastest step.
        stage_seconds: its durations by `STAGES`.
    """

    def __init__(self, case: Case, variant: Variant, batch_size: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = GPT(build(GPTConfig, {"observation_size": 11, "action_size": 3, **case.form})).to(device)
        self._objective = Objective(self.model, LossConfig(), variant.precision, variant.compile)
        self._optimizers = make_optimizers(self.model, OPTIMIZERS[case.optimizer]())
        self._ema = make_ema(self.model, 0.995)
        tokens = torch.rand(batch_size, self.model.config.block_size + 1, device=device)
        self.n_tokens, self._batch_size = tokens.numel(), batch_size
        chunks = tokens.tensor_split(min(variant.accumulate, batch_size))
        self._micro_batches = [Batch(chunk, torch.ones_like(chunk, dtype=torch.bool)) for chunk in chunks]
        self.seconds, self.stage_seconds = math.inf, [0.0] * len(STAGES)
        started = time.perf_counter()
        self.step()  # ends once the device is done
        self.first_seconds = time.perf_counter() - started
        self.saved_bytes = self._measure_saved_bytes()

    def step(self) -> None:
        """Run a step and record its time if it is the fastest; gradient clipping counts as optimizer time."""
        self.model.zero_grad(set_to_none=True)
        marks, forward = [now(self.device)], 0.0
        for batch in self._micro_batches:
            started = now(self.device)
            loss = self._objective(batch)
            forward += now(self.device) - started
            (loss * (len(batch.tokens) / self._batch_size)).backward()
        marks.append(now(self.device))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        marks.append(now(self.device))
        self._ema.update_parameters(self.model)
        marks.append(now(self.device))
        seconds = marks[-1] - marks[0]
        if seconds < self.seconds:
            self.seconds = seconds
            self.stage_seconds = [forward, marks[1] - marks[0] - forward, marks[2] - marks[1], marks[3] - marks[2]]

    def _measure_saved_bytes(self) -> int:
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        saved: dict[int, int] = {}

        def record(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            loss = self._objective(self._micro_batches[0])  # keeps the graph, so that no address is reused
        del loss
        return sum(saved.values())


class Floor:
    """Lower bound of a step's time: its matrix products, each timed alone.

    Args:
        steps: steps that are not compiled; one is run.
    """

    def __init__(self, steps: Steps) -> None:
        self._device = steps.device
        with MatrixProducts() as products:
            steps.step()
        self._counts = products.counts
        self._fastest: dict[Product, float] = dict.fromkeys(self._counts, math.inf)

    def time(self) -> None:
        """Time each product once more and keep the minimum."""
        for product, best in self._fastest.items():
            self._fastest[product] = min(best, time_product(product, self._device))

    @property
    def seconds(self) -> float:
        """Total time of all products."""
        return sum(count * self._fastest[product] for product, count in self._counts.items())


def measure(case: Case, variants: Sequence[Variant], batch_size: int, repeats: int, device: torch.device) -> None:
    """Print one row per variant; steps and lower bounds are timed alternately."""
    by_variant = {variant: Steps(case, variant, batch_size, device) for variant in variants}
    timed = list(by_variant.values())
    # Products of compiled code cannot be recorded; they are those of the same variant without compilation.
    recorded = [variant._replace(compile=False) for variant in variants]
    floors = [Floor(by_variant.get(variant) or Steps(case, variant, batch_size, device)) for variant in recorded]
    for _ in range(repeats):
        for steps, floor in zip(timed, floors, strict=True):
            steps.step()
            floor.time()
    for variant, steps, floor in zip(variants, timed, floors, strict=True):
        n_parameters = sum(parameter.numel() for parameter in steps.model.parameters())
        columns = [case.name, str(variant), f"{n_parameters:,}", f"{steps.first_seconds:.1f}", f"{steps.seconds:.4f}"]
        columns += [f"{steps.seconds / timed[0].seconds:.2f}", f"{steps.n_tokens / steps.seconds:,.0f}"]
        columns += [f"{floor.seconds:.4f}", f"{steps.seconds / floor.seconds:.2f}", f"{steps.saved_bytes / MIB:.0f}"]
        columns += [f"{100 * stage / steps.seconds:.1f}" for stage in steps.stage_seconds]
        print("| " + " | ".join(columns) + " |", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, row by row."""
    arguments = TrainingArguments().parse(argv)
    check_positive(arguments, "accumulate", "batch_size", "repeats")
    unknown = set(arguments.models) - CASES.keys()
    if unknown:
        raise InputError(f"--models knows {', '.join(CASES)}, not {', '.join(sorted(unknown))}.")
    use_threads(arguments.threads)
    device = use_device(arguments.device)
    requested = Variant(arguments.precision, arguments.compile, arguments.accumulate)
    variants = [PLAIN] if requested == PLAIN else [PLAIN, requested]
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for name in arguments.models:
        case = CASES[name]
        measure(case, variants, arguments.batch_size or case.batch_size, arguments.repeats, device)


if __name__ == "__main__":
    run_command(main)
