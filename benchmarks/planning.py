"""Seconds per planned action, compared with their lower bound and with a planner without caches.

Run ``python -m benchmarks.planning`` from the clone. It uses fixed random weights, the default model of width 128, a
full context and the searches of the paper. Each measurement has its own process. The planner without caches runs for
one environment in float32; it takes minutes per action in hopper and walker2d. ``--naive false`` skips it.

Before that, a table tells the milliseconds per action with few candidates and a critic (``--latency``; ``--tasks``
without values leaves the rest out).
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from benchmarks.apart import call_apart, peak_mib
from benchmarks.clock import now
from benchmarks.floor import MatrixProducts
from benchmarks.latency import HEADER as LATENCY_HEADER
from benchmarks.latency import LatencyCase, measure_latency, report_latency
from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.checkpoint import find_checkpoint, read_training
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import limit_onednn_cache, use_device, use_threads
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.positions import PositionKind
from trajectory_adacat.planning.beam_search import Plan, beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder, Window, WindowConfig
from trajectory_adacat.planning.planner import Precision, environments_per_search
from trajectory_adacat.planning.scoring import ValueTokens
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.profiling import StepProfile

N_CONTEXT = 5


class Setting(NamedTuple):
    """The sizes of a task and its search in the paper."""

    observation_size: int
    action_size: int
    horizon: int
    beam_width: int


SETTINGS = {
    "halfcheetah": Setting(17, 6, 5, 32),
    "hopper": Setting(11, 3, 15, 128),
    "walker2d": Setting(17, 6, 15, 128),
}
HEADER = (
    *(
        "task",
        "window",
        "environments",
        "precision",
        "s/action",
        "tokens/action",
        "tokens/s",
        "floor s/action",
        "ratio to floor",
    ),
    *("peak memory (MiB)", "naive s/action", "naive tokens", "naive ratio to floor", "naive / cached"),
)


class PlanningArguments(CommandParser):
    """Time planned actions at the paper's settings."""

    tasks: list[str] = list(SETTINGS)  # which of halfcheetah, hopper, walker2d
    environments: list[int] = [1, 15]  # numbers of environments at once
    windows: list[Window] = list(get_args(Window))  # cropped, full or both
    positions: Literal["learned", "rotary"] = "learned"  # the model's positions
    precisions: list[Precision] = ["float32"]  # of the cached planner: float32, bfloat16 or both
    compile: bool = False  # compile the blocks of the cached planner before timing it
    naive: bool = True  # also time the planner without caches, in one environment
    profile: Path | None = None  # folder for a profile of each case of the cached planner
    latency: bool = True  # also time few candidates that a critic scores
    preset: str | None = "cpu"  # of that: sizes of random weights, and the search
    checkpoint: Path | None = None  # of that: a trained model; by default random weights
    critic: Path | None = None  # of that: the model's critic; by default the one that plan --critic auto takes
    repeats: int = 3  # timings per case, of which the shortest is reported
    threads: int = 1  # threads of this process
    device: str = "cpu"  # cpu, cuda or cuda:<n>


class Timing(NamedTuple):
    """Cost of an action of one environment: seconds, tokens, lower bound of the seconds; and peak memory in MiB."""

    seconds: float
    tokens: float
    floor: float
    peak: float


class Case(NamedTuple):
    """Settings of one measurement."""

    task: str
    window: Window
    n_environments: int
    positions: PositionKind
    precision: Precision
    is_naive: bool = False
    is_compiled: bool = False
    device: str = "cpu"

    def __str__(self) -> str:
        return "-".join(str(part) for part in self[:5])


def make_search(case: Case) -> tuple[GPT, Callable[[], list[Plan]]]:
    """Return a model of fixed random weights, and a function that plans with it for all environments."""
    torch.manual_seed(0)
    setting = SETTINGS[case.task]
    config = GPTConfig(setting.observation_size, setting.action_size, positions=case.positions)
    model = GPT(config).to(case.device).eval()
    if case.precision == "bfloat16":
        model.reduce_precision()
    spec = model.spec
    search = BeamSearchConfig(0.99, setting.horizon, setting.beam_width, drop_act=0.6)
    context = torch.rand(case.n_environments, (N_CONTEXT - 1) * spec.dimension + setting.observation_size)
    uniforms = torch.rand(case.n_environments, *uniforms_shape(spec, search)).to(case.device)
    normalizer = MinMaxNormalizer(torch.zeros(spec.dimension), torch.ones(spec.dimension)).to(case.device)
    context = context.to(case.device)
    decoder = NaiveDecoder if case.is_naive else CachedDecoder

    @torch.inference_mode()
    def plan() -> list[Plan]:
        window, n = WindowConfig(case.window, N_CONTEXT), environments_per_search(search)
        settings = spec, search, normalizer
        parts = zip(context.split(n), uniforms.split(n), strict=True)
        return [beam_search(decoder(model, past, window), *settings, u, ValueTokens()) for past, u in parts]

    return model, plan


def measure(case: Case, repeats: int, threads: int, profile: Path | None = None) -> Timing:
    """Time a plan and its matrix products in this process, and write a profile to the folder ``profile``.

    The plan without caches is timed once, while its products are recorded. Recording takes microseconds per operation,
    the operation itself milliseconds.
    """
    use_threads(threads)
    use_device(case.device)
    if case.precision == "bfloat16":
        limit_onednn_cache()
    model, plan = make_search(case)
    with MatrixProducts() as products:
        seconds = [timed(plan, case.device)]
    if case.is_compiled:
        model.compile_decoding()
        plan()
    if not case.is_naive:
        seconds = [timed(plan, case.device) for _ in range(repeats)]
    peak = peak_mib(case.device)
    if profile is not None:
        with StepProfile(profile / str(case), n_warmup=0, n_steps=1, device=case.device) as steps:
            plan()
            steps.step()
    tokens = products.rows(model.config.width, 3 * model.config.width) / model.config.n_layer
    n = case.n_environments
    return Timing(min(seconds) / n, tokens / n, products.seconds(case.device) / n, peak)


def timed(call: Callable[[], object], device: str) -> float:
    """Return the seconds that a call takes."""
    started = now(device)
    call()
    return now(device) - started


def describe(timing: Timing) -> list[str]:
    """Return the columns of a timing, except memory."""
    columns = [f"{timing.seconds:.3f}", f"{timing.tokens:,.0f}", f"{timing.tokens / timing.seconds:,.0f}"]
    return [*columns, f"{timing.floor:.3f}", f"{timing.seconds / timing.floor:.2f}"]


def time_latency(arguments: PlanningArguments) -> None:
    """Print the table of few candidates with a critic."""
    robots = arguments.tasks or list(SETTINGS)
    datasets = [f"{robot}-medium-collected" for robot in robots]
    if arguments.checkpoint is not None:
        datasets = [read_training(find_checkpoint(arguments.checkpoint))["dataset"]["name"]]
    print("| " + " | ".join(LATENCY_HEADER) + " |\n|" + "---|" * len(LATENCY_HEADER), flush=True)
    for dataset, n in itertools.product(datasets, arguments.environments):
        case = LatencyCase(dataset, n, arguments.preset, arguments.checkpoint, arguments.critic, arguments.device)
        report_latency(case, call_apart(measure_latency, case, arguments.repeats, arguments.threads))
    print()


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, each line once it is measured."""
    arguments = PlanningArguments().parse(argv)
    for name, known in (("tasks", SETTINGS), ("windows", get_args(Window)), ("precisions", get_args(Precision))):
        unknown = {*getattr(arguments, name)} - {*known}
        if unknown:
            raise InputError(f"--{name} knows {', '.join(known)}, not {', '.join(sorted(unknown))}.")
    if arguments.latency:
        time_latency(arguments)
    if not arguments.tasks:
        return
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for task, window in itertools.product(arguments.tasks, arguments.windows):
        naive: Timing | None = None
        if arguments.naive:
            case = Case(task, window, 1, arguments.positions, "float32", is_naive=True, device=arguments.device)
            naive = call_apart(measure, case, 1, arguments.threads)
        for n, precision in itertools.product(arguments.environments, arguments.precisions):
            case = Case(
                task, window, n, arguments.positions, precision, is_compiled=arguments.compile, device=arguments.device
            )
            cached = call_apart(measure, case, arguments.repeats, arguments.threads, arguments.profile)
            row = [task, window, str(n), precision, *describe(cached), f"{cached.peak:,.0f}"]
            if naive is not None:
                seconds, tokens, _, _, ratio = describe(naive)
                row += [seconds, tokens, ratio, f"{naive.seconds / cached.seconds:.0f}"]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    run_command(main)
