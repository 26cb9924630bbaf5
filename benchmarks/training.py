"""Seconds per training step, beside the time that its matrix products alone take.

Run ``python -m benchmarks.training`` from the clone: the paper's model and batch on hopper's sizes, with and without
dropout, and the small model of the ``cpu`` preset, on random tokens.
"""

import time
from collections.abc import Sequence

import torch

from benchmarks.floor import MatrixProducts
from trajectory_adacat.configuration import CommandParser, run_command
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig, sequence_loss
from trajectory_adacat.training.ema import make_average
from trajectory_adacat.training.optimizer import OptimizerKind, make_optimizers

NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
SMALL = {"n_transitions": 5, "n_layer": 3, "n_embd": 16, "embedding": "per_dimension"}
CASES: dict[str, tuple[dict, int, OptimizerKind]] = {
    "paper, dropout 0.1": ({}, 256, "adamw"),
    "paper, dropout 0.1 but in the attention": ({"attn_pdrop": 0.0}, 256, "adamw"),
    "paper, dropout 0": (NO_DROPOUT, 256, "adamw"),
    "preset cpu": ({**SMALL, **NO_DROPOUT}, 64, "muon"),
}
HEADER = ("model", "parameters", "s/step", "tokens/s", "floor s/step", "ratio to floor")


class TrainingArguments(CommandParser):
    """Time training steps."""

    repeats: int = 3  # timings of each, of which the shortest counts
    threads: int = 1  # threads of this process


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, a line when it is measured."""
    arguments = TrainingArguments().parse(argv)
    torch.set_num_threads(arguments.threads)
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for name, (form, batch_size, kind) in CASES.items():
        torch.manual_seed(0)
        model = GPT(GPTConfig(11, 3, **form))
        optimizers = make_optimizers(model, kind, 6e-4, 0.02, (0.9, 0.95), 0.1)
        average = make_average(model, 0.995)
        tokens = torch.rand(batch_size, model.config.block_size + 1)
        mask = torch.ones_like(tokens, dtype=torch.bool)

        def step(
            model: GPT = model,
            optimizers: list = optimizers,
            average: torch.nn.Module = average,
            tokens: torch.Tensor = tokens,
            mask: torch.Tensor = mask,
        ) -> None:
            loss = sequence_loss(model(tokens[:, :-1]), tokens, mask, model.spec, LossConfig())
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            average.update_parameters(model)  # type: ignore[operator]

        with MatrixProducts() as products:
            step()
        seconds = []
        for _ in range(arguments.repeats):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        best, floor = min(seconds), products.seconds()
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        columns = [name, f"{n_parameters:,}", f"{best:.3f}", f"{tokens.numel() / best:,.0f}"]
        print("| " + " | ".join([*columns, f"{floor:.3f}", f"{best / floor:.2f}"]) + " |", flush=True)


if __name__ == "__main__":
    run_command(main)
