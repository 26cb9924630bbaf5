"""The cached decoder against one that recomputes everything for every token."""

from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.decoding import CachedDecoder, Decoder, WindowConfig

from .conftest import random_model

WINDOWS = [WindowConfig("cropped", 2), WindowConfig("cropped", 4), WindowConfig("full", 2), WindowConfig("full", 4)]


def all_predictions(decoder: Decoder, model: GPT, n_environments: int, n_transitions: int) -> list[torch.Tensor]:
    """Log-densities at every token of random rows that are expanded, reordered and grow beyond the window.

    After each token, also the last tokens of each row as far as any window keeps them.
    """
    generator = torch.Generator().manual_seed(1)
    spec, n_rows, n_expand = model.spec, 3, 2
    probes = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)[:, None, None]
    predictions = []

    def grow(dimensions: range, rows: int) -> None:
        for dimension in dimensions:
            predictions.append(decoder.next_distribution(dimension).log_prob(probes.to(model.positions.weight.dtype)))
            decoder.append(torch.rand(n_environments, rows, generator=generator).to(model.positions.weight.dtype))
            predictions.append(decoder.last_tokens(min(dimension + 1, spec.dimension)))

    for step in range(n_transitions):
        decoder.expand(n_rows * n_expand if step == 0 else n_expand)
        grow(range(spec.observation_size, spec.dimension), n_rows * n_expand)
        decoder.select(torch.randint(n_rows * n_expand, (n_environments, n_rows), generator=generator))
        grow(range(spec.observation_size), n_rows)
    return predictions


FORMS: list[dict[str, str]] = [
    {},
    {"parameterization": "uniform"},
    {"embedding": "per_dimension", "positions": "rotary"},
]
# With the number of past transitions; the fast ones have each window with each form, and with each number.
FAST = [(FORMS[0], 0), (FORMS[0], 2), (FORMS[1], 1), (FORMS[2], 0), (FORMS[2], 2)]
SLOW = [case for case in product(FORMS, (0, 1, 2)) if case not in FAST]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    ("form", "n_past"), [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)], ids=str
)
def test_cached_equals_uncached_beyond_the_window_and_after_reordering(
    window: WindowConfig, form: dict[str, str], n_past: int
) -> None:
    model = random_model(**form)
    context = torch.rand(2, n_past * model.spec.dimension + model.spec.observation_size, dtype=torch.float64)
    with torch.inference_mode():
        cached = all_predictions(CachedDecoder(model, context, window), model, 2, 7)
        naive = all_predictions(NaiveDecoder(model, context, window), model, 2, 7)
    for a, b in zip(cached, naive, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_compiled_equals_plain_and_compiles_each_part_once(positions: str) -> None:
    plain, compiled = random_model(positions=positions), random_model(positions=positions)
    graphs = CompileCounter()  # traces as every backend does, and runs what it traced
    compiled.compile_decoding(backend=graphs)
    for n_environments, window in (
        (2, WindowConfig("full", 2)),
        (1, WindowConfig("full", 2)),
        (3, WindowConfig("cropped", 3)),
    ):
        context = torch.rand(n_environments, plain.spec.observation_size, dtype=torch.float64)
        with torch.inference_mode():
            expected = all_predictions(CachedDecoder(plain, context, window), plain, n_environments, 5)
            found = all_predictions(CachedDecoder(compiled, context, window), compiled, n_environments, 5)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert graphs.frame_count == 2  # what precedes attention and what follows it, each for all shapes


def test_the_number_of_beams_may_change() -> None:
    model = random_model()
    context = torch.rand(2, model.spec.observation_size, dtype=torch.float64)
    window = WindowConfig("full", 2)
    with torch.inference_mode():
        decoders = CachedDecoder(model, context, window), NaiveDecoder(model, context, window)
        for n_rows, n_expand in ((1, 4), (3, 2), (2, 3), (5, 1)):
            chosen = torch.arange(2 * n_rows).view(2, n_rows) % n_expand
            tokens = torch.rand(model.spec.dimension, 2, 16, dtype=torch.float64)
            for decoder in decoders:
                decoder.expand(n_expand)
            for dimension in range(model.spec.observation_size, model.spec.dimension):
                assert_same_next(decoders, dimension, tokens[dimension])
            for decoder in decoders:
                decoder.select(chosen)
            for dimension in range(model.spec.observation_size):
                assert_same_next(decoders, dimension, tokens[dimension])


def assert_same_next(decoders: Sequence[Decoder], dimension: int, tokens: torch.Tensor) -> None:
    """Compares the next distributions, and appends as many of ``tokens [G, many]`` as there are rows."""
    cached, naive = (decoder.next_distribution(dimension) for decoder in decoders)
    torch.testing.assert_close(cached.mean, naive.mean, rtol=1e-9, atol=1e-9)
    for decoder in decoders:
        decoder.append(tokens[:, : cached.batch_shape[1]])


def test_select_without_expand_is_refused(model: GPT) -> None:
    decoder = CachedDecoder(model, torch.rand(1, model.spec.observation_size, dtype=torch.float64), WindowConfig())
    with pytest.raises(RuntimeError, match="expand"):
        decoder.select(torch.zeros(1, 1, dtype=torch.long))


def test_expanding_candidates_is_refused(model: GPT) -> None:
    decoder = CachedDecoder(model, torch.rand(1, model.spec.observation_size, dtype=torch.float64), WindowConfig())
    decoder.expand(2)
    with pytest.raises(RuntimeError, match="select"):
        decoder.expand(2)


def test_windows() -> None:
    cropped, full = WindowConfig("cropped", 5), WindowConfig("full", 5)
    assert [cropped.num_visible(n, 10) for n in (0, 3, 4, 5, 10)] == [0, 3, 4, 4, 4]
    assert [full.num_visible(n, 10) for n in (0, 5, 9, 10)] == [0, 5, 9, 5]
    assert full.num_visible(5, 5) == 2
    with pytest.raises(InputError, match="max_context_transitions"):
        WindowConfig("cropped", 0)
    with pytest.raises(InputError, match="window"):
        WindowConfig("sliding")  # type: ignore[arg-type]
