"""Min-max normalization: bounds, inverse, constants, clamping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from trajectory_adacat.datasets.normalization import MinMaxNormalizer

ROWS = torch.tensor([[-2.0, 10.0, 7.0], [2.0, 30.0, 7.0], [0.0, 15.0, 7.0]])


def test_the_bounds_are_minimum_and_maximum_of_each_dimension() -> None:
    np.testing.assert_array_equal(
        MinMaxNormalizer.fit(ROWS).normalize(ROWS).numpy(), [[0, 0, 0.5], [1, 1, 0.5], [0.5, 0.25, 0.5]]
    )


finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(values=st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_normalized_values_lie_in_the_unit_interval_and_are_restored(values: list[tuple[float, float]]) -> None:
    rows = torch.tensor(values, dtype=torch.float64)
    normalizer = MinMaxNormalizer.fit(rows)
    scaled = normalizer.normalize(rows)
    assert scaled.dtype == torch.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    span = rows.amax(0) - rows.amin(0)
    assert ((normalizer.denormalize(scaled) - rows).abs() <= 1e-7 * span).all()
    assert normalizer.count_outside(rows) == 0


def test_any_value_of_a_constant_dimension_maps_back_to_the_constant() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    np.testing.assert_array_equal(normalizer.denormalize(torch.tensor([0.0, 0.5, 1.0]), 2).numpy(), [7, 7, 7])


def test_other_values_of_a_constant_dimension_are_counted_and_map_to_one_half() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    assert normalizer.count_outside(torch.tensor([[0.0, 20.0, 8.0]])) == 1
    assert float(normalizer.normalize(torch.tensor([[0.0, 20.0, 8.0]]))[0, 2]) == 0.5


def test_values_out_of_bounds_are_clamped_and_counted() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    values = torch.tensor([[-3.0, 31.0, 7.0], [0.0, 9.0, 7.0]])
    np.testing.assert_array_equal(normalizer.normalize(values).numpy(), [[0, 1, 0.5], [0.5, 0, 0.5]])
    assert normalizer.count_outside(values) == 3


@pytest.mark.parametrize("dimensions", [slice(1, 3), slice(0, 1)])
def test_selected_dimensions_use_their_own_bounds(dimensions: slice) -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    whole = normalizer.normalize(ROWS)[:, dimensions]
    part = normalizer.normalize(ROWS[:, dimensions], dimensions)
    assert torch.equal(part, whole)
    assert torch.equal(
        normalizer.denormalize(part, dimensions), normalizer.denormalize(normalizer.normalize(ROWS))[:, dimensions]
    )


def test_one_dimension_may_be_selected_by_its_index() -> None:
    normalizer = MinMaxNormalizer.fit(ROWS)
    assert float(normalizer.denormalize(torch.tensor(0.25), 1)) == 15.0


def test_a_saved_state_is_restored_bit_for_bit() -> None:
    normalizer = MinMaxNormalizer.fit(torch.rand(10, 3, dtype=torch.float64) / 3)
    restored = MinMaxNormalizer.from_state_dict(load(save(normalizer.state_dict())))
    assert torch.equal(restored.low, normalizer.low)
    assert torch.equal(restored.high, normalizer.high)


def test_bounds_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        MinMaxNormalizer(torch.zeros(3), torch.ones(2))
