"""The floor counts every matrix product of a computation, in its shape."""

import torch
from torch.nn import functional as F

from benchmarks.floor import MatrixProducts, time_product

F32 = torch.float32


def test_products_are_counted_in_their_shapes() -> None:
    x, w = torch.rand(5, 3), torch.rand(7, 3)
    with torch.inference_mode(), MatrixProducts() as products:
        F.linear(x, w, torch.rand(7))
        F.linear(x, w)
        torch.rand(2, 5, 3) @ torch.rand(2, 3, 4)
        x.sum()
    assert products.counts == {(1, 5, 3, 7, F32): 2, (2, 5, 3, 4, F32): 1}
    assert products.rows(3, 7) == 10


def test_gradients_are_counted_too() -> None:
    w = torch.rand(7, 3, requires_grad=True)
    with MatrixProducts() as products:
        F.linear(torch.rand(5, 3), w).sum().backward()
    assert products.counts == {(1, 5, 3, 7, F32): 1, (1, 7, 5, 3, F32): 1}


def test_fused_attention_counts_its_two_products_and_their_gradients() -> None:
    queries = torch.rand(2, 3, 5, 8, requires_grad=True)
    keys = torch.rand(2, 3, 6, 8, requires_grad=True)
    with MatrixProducts() as forward:
        y = F.scaled_dot_product_attention(queries, keys, keys)
    assert forward.counts == {(6, 5, 8, 6, F32): 1, (6, 5, 6, 8, F32): 1}
    with MatrixProducts() as backward:
        y.sum().backward()
    multiplications = sum(b * m * k * n * count for (b, m, k, n, _), count in backward.counts.items())
    assert multiplications == 5 * 6 * 5 * 6 * 8  # the scores again, and two gradients of either product


def test_a_product_takes_time_and_an_empty_one_none() -> None:
    assert time_product((2, 3, 4, 5, F32)) > 0.0
    assert time_product((2, 0, 4, 5, F32)) == 0.0
