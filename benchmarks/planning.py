"""Seconds per planned action, beside their floor and a planner without caches.

Run ``python -m benchmarks.planning`` from the clone: fixed random weights, the default 128-wide model, a full context,
the paper's searches. The naive planner takes minutes for a hopper action; ``--naive false`` leaves it out.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import torch

from benchmarks.floor import MatrixProducts
from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.configuration import CommandParser, run_command
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.positions import PositionKind
from trajectory_adacat.planning.beam_search import BeamSearchConfig, beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder, Window, WindowConfig

N_CONTEXT = 5


class Setting(NamedTuple):
    """A task's sizes and its search in the paper."""

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
    *("task", "window", "environments", "s/action", "tokens/action", "tokens/s", "floor s/action", "ratio to floor"),
    *("naive s/action", "naive tokens", "naive ratio to floor", "naive / cached"),
)


class PlanningArguments(CommandParser):
    """Time planned actions at the paper's settings."""

    tasks: list[str] = list(SETTINGS)  # which of halfcheetah, hopper, walker2d
    environments: list[int] = [1, 15]  # how many environments at once
    windows: list[Window] = list(get_args(Window))  # which of cropped, full
    positions: Literal["learned", "rotary"] = "learned"  # the model's positions
    precision: Literal["float32", "bfloat16"] = "float32"  # of the cached planner
    naive: bool = True  # also time the planner without caches, in one environment
    repeats: int = 3  # timings of each, of which the shortest counts
    threads: int = 1  # threads of this process


class Timing(NamedTuple):
    """What a search costs, for one action of one environment."""

    seconds: float
    tokens: float
    floor: float


def make_search(
    setting: Setting, window: Window, n_environments: int, positions: PositionKind, decoder: type
) -> tuple[GPT, Callable[[], object]]:
    """A model of fixed random weights, and a plan with it for all environments."""
    torch.manual_seed(0)
    config = GPTConfig(setting.observation_size, setting.action_size, positions=positions)
    model = GPT(config).eval()
    spec = model.spec
    search = BeamSearchConfig(0.99, setting.horizon, setting.beam_width, drop_act=0.6)
    context = torch.rand(n_environments, (N_CONTEXT - 1) * spec.dimension + setting.observation_size)
    uniforms = torch.rand(n_environments, *uniforms_shape(spec, search))
    normalizer = MinMaxNormalizer(torch.zeros(spec.dimension), torch.ones(spec.dimension))

    @torch.inference_mode()
    def plan() -> object:
        return beam_search(decoder(model, context, WindowConfig(window, N_CONTEXT)), spec, search, normalizer, uniforms)

    return model, plan


def measure(model: GPT, plan: Callable[[], object], n_environments: int, repeats: int) -> Timing:
    """Times a plan and its matrix products."""
    with MatrixProducts() as products:
        plan()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        plan()
        seconds.append(time.perf_counter() - started)
    tokens = products.rows(model.config.width, 3 * model.config.width) / model.config.n_layer
    return Timing(min(seconds) / n_environments, tokens / n_environments, products.seconds() / n_environments)


def describe(timing: Timing) -> list[str]:
    """A timing's columns."""
    columns = [f"{timing.seconds:.3f}", f"{timing.tokens:,.0f}", f"{timing.tokens / timing.seconds:,.0f}"]
    return [*columns, f"{timing.floor:.3f}", f"{timing.seconds / timing.floor:.2f}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, a line when it is measured."""
    arguments = PlanningArguments().parse(argv)
    unknown = {*arguments.tasks} - {*SETTINGS} | {*arguments.windows} - {*get_args(Window)}
    if unknown:
        raise InputError(f"There is no task or window {', '.join(sorted(unknown))}.")
    torch.set_num_threads(arguments.threads)
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for task in arguments.tasks:
        for window in arguments.windows:
            naive: Timing | None = None
            if arguments.naive:
                naive = measure(*make_search(SETTINGS[task], window, 1, arguments.positions, NaiveDecoder), 1, 1)
            for n in arguments.environments:
                problem = make_search(SETTINGS[task], window, n, arguments.positions, CachedDecoder)
                if arguments.precision == "bfloat16":
                    problem[0].reduce_precision()
                cached = measure(*problem, n, arguments.repeats)
                row = [task, window, str(n), *describe(cached)]
                if naive is not None:
                    seconds, tokens, _, _, ratio = describe(naive)
                    row += [seconds, tokens, ratio, f"{naive.seconds / cached.seconds:.0f}"]
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    run_command(main)
