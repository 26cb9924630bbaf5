"""Min-max normalization: bounds, inverse, constants, clamping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from trajectory_adacat.datasets.normalization import MinMaxNormalizer

ROWS = torch.tensor([[-2.0, 10.0, 7.0], [2.0, 30.0, 7.0], [0.0, 15.0, 7.0]])


def test_the_bounds_are_the_smallest_and_the_largest_of_each_dimension() -> None:
    np.testing.assert_array_equal(
        MinMaxNormalizer.fit(ROWS).normalize(ROWS).numpy(), [[0, 0, 0.5], [1, 1, 0.5], [0.5, 0.25, 0.5]]
    )


finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(values=st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_normalized_values_lie_in_the_unit_interval_and_come_back(values: list[tuple[float, float]]) -> None:
    rows = torch.tensor(values, dtype=torch.float64)
    normalizer = MinMaxNormalizer.fit(rows)
    scaled = normalizer.normalize(rows)
    assert scaled.dtype == torch.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    span = rows.amax(0) - rows.amin(0)
    assert ((normalizer.denormalize(scaled) - rows).abs() <= 1e-7 * span).all()
    assert normalizer.count_outside(rows) == 0


def test_a_constant_dimension_comes_back_whatever_is_predicted() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    np.testing.assert_array_equal(normalizer.denormalize(torch.tensor([0.0, 0.5, 1.0]), 2).numpy(), [7, 7, 7])


def test_a_constant_dimension_that_changes_later_is_counted_and_stays_finite() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    assert normalizer.count_outside(torch.tensor([[0.0, 20.0, 8.0]])) == 1
    assert float(normalizer.normalize(torch.tensor([[0.0, 20.0, 8.0]]))[0, 2]) == 0.5


def test_what_lies_outside_is_clamped_and_counted_entry_by_entry() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    values = torch.tensor([[-3.0, 31.0, 7.0], [0.0, 9.0, 7.0]])
    np.testing.assert_array_equal(normalizer.normalize(values).numpy(), [[0, 1, 0.5], [0.5, 0, 0.5]])
    assert normalizer.count_outside(values) == 3


@pytest.mark.parametrize("dimensions", [slice(1, 3), slice(0, 1)])
def test_named_dimensions_alone_are_mapped_with_their_own_bounds(dimensions: slice) -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    whole = normalizer.normalize(ROWS)[:, dimensions]
    part = normalizer.normalize(ROWS[:, dimensions], dimensions)
    assert torch.equal(part, whole)
    assert torch.equal(
        normalizer.denormalize(part, dimensions), normalizer.denormalize(normalizer.normalize(ROWS))[:, dimensions]
    )


def test_one_dimension_may_be_named_by_its_index() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    assert float(normalizer.denormalize(torch.tensor(0.25), 1)) == 15.0


def test_the_state_survives_a_file_bit_for_bit() -> None:
    normalizer = MinMaxNormalizer.fit(torch.rand(10, 3, dtype=torch.float64) / 3)
    again = MinMaxNormalizer.from_state_dict(load(save(normalizer.state_dict())))
    assert torch.equal(again.low, normalizer.low)
    assert torch.equal(again.high, normalizer.high)


def test_bounds_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        MinMaxNormalizer(torch.zeros(3), torch.ones(2))
