"""The cache against lists of rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trajectory_adacat.models.kv_cache import KVCache

LAYERS, HEADS, SIZE = 2, 2, 3


def new_cache(n_environments: int, n_rows: int, capacity: int) -> KVCache:
    return KVCache(LAYERS, n_environments, n_rows, HEADS, capacity, SIZE, torch.device("cpu"), torch.float32)


def fill(cache: KVCache, n_environments: int, n_tokens: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Writes random tokens into all layers, and returns what was written."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_environments, cache.n_rows, HEADS, n_tokens, SIZE)
    written = [
        (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)) for _ in range(LAYERS)
    ]
    for layer, (keys, values) in enumerate(written):
        cache.write(layer, keys, values)
    cache.advance(n_tokens)
    return written


def assert_holds(cache: KVCache, expected: list[tuple[Tensor, Tensor]]) -> None:
    for layer, (keys, values) in enumerate(expected):
        assert torch.equal(cache.keys(layer), keys)
        assert torch.equal(cache.values(layer), values)


def test_tokens_are_read_back_in_the_order_in_which_they_were_written() -> None:
    cache = new_cache(2, 3, 5)
    first, second = fill(cache, 2, 2, seed=1), fill(cache, 2, 3, seed=2)
    assert cache.length == 5
    both = [tuple(torch.cat(pair, -2) for pair in zip(a, b, strict=True)) for a, b in zip(first, second, strict=True)]
    assert_holds(cache, both)  # type: ignore[arg-type]


def test_tokens_count_once_every_layer_has_written() -> None:
    cache = new_cache(1, 1, 4)
    keys = torch.ones(1, 1, HEADS, 1, SIZE)
    cache.write(0, keys, 2 * keys)
    assert cache.keys(0).shape[-2] == 0
    assert torch.equal(cache.keys(0, 1), keys)
    assert torch.equal(cache.values(0, 1), 2 * keys)


def test_a_cleared_cache_is_empty_and_can_be_filled_again() -> None:
    cache = new_cache(1, 2, 3)
    fill(cache, 1, 3)
    cache.clear()
    assert cache.length == 0
    assert_holds(cache, fill(cache, 1, 3, seed=7))


@pytest.mark.parametrize(("capacity", "n_before", "n_tokens"), [(0, 0, 1), (3, 3, 1), (3, 2, 2)])
def test_tokens_beyond_the_capacity_are_refused_and_not_lost(capacity: int, n_before: int, n_tokens: int) -> None:
    cache = new_cache(1, 1, capacity)
    before = fill(cache, 1, n_before) if n_before else []
    with pytest.raises(ValueError, match="capacity"):
        fill(cache, 1, n_tokens, seed=3)
    assert_holds(cache, before)


def test_appended_rows_beyond_the_capacity_are_refused() -> None:
    cache, other = new_cache(1, 1, 2), new_cache(1, 1, 1)
    before = fill(cache, 1, 2)
    fill(other, 1, 1)
    with pytest.raises(ValueError, match="capacity"):
        cache.append_rows(other, torch.zeros(1, 1, dtype=torch.long))
    assert_holds(cache, before)


@settings(deadline=None)
@given(
    sources=st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, n - 1), min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_moved_rows_are_copies_of_their_sources(sources: list[list[int]]) -> None:
    n_environments, n_rows = len(sources), len(sources[0])
    cache = new_cache(n_environments, n_rows, 6)
    written = fill(cache, n_environments, 4)
    cache.move_rows(torch.tensor(sources))
    moved = [
        tuple(torch.stack([part[g][rows] for g, rows in enumerate(sources)]) for part in layer) for layer in written
    ]
    assert cache.length == 4
    assert_holds(cache, moved)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=3),
    n_tokens=st.integers(0, 3),
)
def test_appended_tokens_come_from_the_named_rows(rows: list[list[int]], n_tokens: int) -> None:
    cache, other = new_cache(len(rows), 2, 5), new_cache(len(rows), 4, 3)
    before, more = fill(cache, len(rows), 2), fill(other, len(rows), n_tokens, seed=1)
    cache.append_rows(other, torch.tensor(rows))
    expected = [
        tuple(
            torch.cat([old, torch.stack([new[g][chosen] for g, chosen in enumerate(rows)])], -2)
            for old, new in zip(a, b, strict=True)
        )
        for a, b in zip(before, more, strict=True)
    ]
    assert_holds(cache, expected)  # type: ignore[arg-type]
    assert_holds(other, more)
