"""Measure time, memory and error of the smoothed training loss: this package, plain evaluations, and ``adacat``.

    python -m benchmarks.distributions

prints a Markdown table. Each method runs forward and backward in its own process, on float32 parameters of AdaCat for a
training batch of [256, 159] tokens ([32, 159] for k = 1000) with logits of standard deviation 2. Time is the processor
time of one thread: the minimum over processes of the median over runs. The processes of the methods alternate. Peak
memory is the growth of the process after the parameters were made, including their gradient. The error is the largest
deviation of the values from Equation 8 evaluated over all bins in float64.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from benchmarks.apart import call_apart, peak_mib
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.distributions import AdaCat, PiecewiseConstant, TruncatedNormal, TruncatedUniform

TOKENS = 159  # tokens of a training sequence: 10 transitions of 16 dimensions, minus one
SMOOTHING = 1e-3  # full width of the uniform kernel, standard deviation of the normal kernel
CHUNK = 2**18  # parameters in a chunk of the chunked evaluation; 2**16 is slower, 2**20 takes more memory
CHECKED_ROWS = 2000  # rows whose values are compared with the reference
# Let the C library keep freed memory, as a long training does. Otherwise each large tensor would cost page faults.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
KERNELS: dict[str, Callable[..., Distribution]] = {"uniform": TruncatedUniform, "normal": TruncatedNormal}


class Parser(CommandParser):
    """Compare the smoothed loss of this package with plain evaluations and with the package adacat."""

    bins: tuple[int, ...] = (50, 100, 1000)  # numbers of bins
    batch_size: int | None = None  # sequences in a batch; default 256, or 32 for 1000 bins and more
    repeats: int = 5  # timed runs per process
    rounds: int = 3  # processes per method
    output: Path | None = None  # JSON file for the figures


@dataclass(frozen=True)
class Measurement:
    """Seconds of a forward and backward pass, peak MiB, and the largest error of the values."""

    seconds: float
    peak_mib: float
    error: float


def ours(params: Tensor, targets: Tensor, kernel: str) -> Tensor:
    """Evaluate this package."""
    smoothing = KERNELS[kernel](targets, SMOOTHING, validate_args=False)
    return AdaCat.from_params(params, validate_args=False).smoothed_log_prob(smoothing)


def dense(params: Tensor, targets: Tensor, kernel: str) -> Tensor:
    """Evaluate Equation 8 over all bins in the dtype of the parameters, with automatic differentiation."""
    width_logits, mass_logits = params.chunk(2, dim=-1)
    edges = torch.nn.functional.pad(width_logits.softmax(dim=-1).cumsum(dim=-1), (1, 0))
    targets = targets.unsqueeze(-1)
    if kernel == "uniform":
        start, end = (targets - SMOOTHING / 2).clamp(min=0), (targets + SMOOTHING / 2).clamp(max=1)
        kernel_mass = ((edges - start) / (end - start)).clamp(0, 1).diff(dim=-1)
    else:
        cdf = torch.special.ndtr((edges - targets) / SMOOTHING)
        kernel_mass = cdf.diff(dim=-1) / (cdf[..., -1:] - cdf[..., :1])
    return (kernel_mass * (mass_logits.log_softmax(dim=-1) - width_logits.log_softmax(dim=-1))).sum(dim=-1)


def dense_exact(params: Tensor, targets: Tensor, kernel: str) -> Tensor:
    """Evaluate Equation 8 over all bins in float64, as accurately as this package."""
    return dense(params.double(), targets.double(), kernel).to(params.dtype)


def chunked(params: Tensor, targets: Tensor, kernel: str) -> Tensor:
    """Evaluate :func:`dense_exact` over chunks of rows and recompute them in the backward pass to save memory."""
    size = max(1, CHUNK // params.shape[-1])
    pairs = zip(params.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)
    values = [checkpoint(dense_exact, *pair, kernel, use_reentrant=False, preserve_rng_state=False) for pair in pairs]
    return torch.cat(values).reshape(targets.shape)


def adacat_package(params: Tensor, targets: Tensor, kernel: str) -> Tensor:
    """Evaluate the package ``adacat``, which has only the normal kernel."""
    from adacat.torch import Adacat  # optional, for this comparison only

    return Adacat(params, validate_args=False).log_prob(targets, smooth_coeff=SMOOTHING)


METHODS: dict[str, tuple[Callable[[Tensor, Tensor, str], Tensor], str]] = {
    "trajectory_adacat, uniform kernel": (ours, "uniform"),
    "dense in float32, uniform kernel": (dense, "uniform"),
    "dense in float64, uniform kernel": (dense_exact, "uniform"),
    "chunked in float64, uniform kernel": (chunked, "uniform"),
    "trajectory_adacat, normal kernel": (ours, "normal"),
    "dense in float32, normal kernel": (dense, "normal"),
    "dense in float64, normal kernel": (dense_exact, "normal"),
    "chunked in float64, normal kernel": (chunked, "normal"),
    "adacat 0.4.2, normal kernel": (adacat_package, "normal"),
}


def make_batch(batch_size: int, bins: int) -> tuple[Tensor, Tensor]:
    """Draw parameters ``[b, t, 2k]`` and targets ``[b, t]``, the same for every method."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(batch_size, TOKENS, 2 * bins, generator=generator).mul_(2).requires_grad_()
    return params, torch.rand(batch_size, TOKENS, generator=generator)


def largest_error(values: Tensor, params: Tensor, targets: Tensor, kernel: str) -> float:
    """Return the largest deviation from Equation 8 over all bins in float64."""
    rows = params.detach().flatten(0, -2)[:CHECKED_ROWS].double()
    smoothing = KERNELS[kernel](targets.flatten()[:CHECKED_ROWS].double(), SMOOTHING)
    reference = PiecewiseConstant.smoothed_log_prob(AdaCat.from_params(rows), smoothing)
    return float((values.detach().flatten()[:CHECKED_ROWS].double() - reference).abs().max())


def measure(method: str, bins: int, batch_size: int, repeats: int) -> Measurement:
    """Measure one method in this process."""
    torch.set_num_threads(1)
    evaluate, kernel = METHODS[method]
    small_params, small_targets = make_batch(1, 10)
    evaluate(small_params, small_targets, kernel).mean().backward()  # warm up: load lazily loaded code
    params, targets = make_batch(batch_size, bins)
    before = peak_mib()
    seconds = []
    for _ in range(repeats):
        params.grad = None
        start = time.process_time()
        values = evaluate(params, targets, kernel)
        values.mean().backward()
        seconds.append(time.process_time() - start)
    peak = peak_mib() - before
    return Measurement(statistics.median(seconds), peak, largest_error(values, params, targets, kernel))


def compare(bins: Sequence[int], batch_size: int | None, repeats: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all methods for all numbers of bins. Methods alternate, so that a busy machine affects all of them."""
    os.environ.update(KEEP_FREED_MEMORY)
    results = []
    with tqdm(total=len(bins) * rounds * len(METHODS), desc="measuring") as progress:
        for count in bins:
            size = batch_size or (256 if count < 1000 else 32)
            runs: dict[str, list[Measurement]] = {method: [] for method in METHODS}
            for _ in range(rounds):
                for method, measurements in runs.items():
                    measurements.append(call_apart(measure, method, count, size, repeats))
                    progress.update()
            for method, measurements in runs.items():
                best = Measurement(
                    seconds=min(run.seconds for run in measurements),
                    peak_mib=statistics.median(run.peak_mib for run in measurements),
                    error=max(run.error for run in measurements),
                )
                results.append({"bins": count, "method": method, **asdict(best)})
    return results


def to_markdown(results: Sequence[dict[str, Any]]) -> str:
    """Format a table with one row per method and number of bins."""
    lines = ["| k | method | time (ms) | peak memory (MiB) | largest error |", "|---:|---|---:|---:|---:|"]
    for row in results:
        figures = f"{1000 * row['seconds']:.0f} | {row['peak_mib']:.0f} | {row['error']:.0e}"
        lines.append(f"| {row['bins']} | {row['method']} | {figures} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = Parser().parse(argv)
    check_positive(args, "batch_size", "repeats", "rounds")
    results = compare(args.bins, args.batch_size, args.repeats, args.rounds)
    print(to_markdown(results))
    if args.output is not None:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main)
