"""Embeddings of scalars and of bins."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trajectory_adacat.distributions import FixedBins
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding

DIMENSIONS = torch.tensor([0, 1, 2, 0, 1])


def scalar_embedding(kind: str) -> ScalarEmbedding:
    embedding = ScalarEmbedding(3, 4, kind)  # type: ignore[arg-type]
    with torch.no_grad():
        for i, parameter in enumerate(embedding.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) * 0.1 + i)
    return embedding


def by_column(embedding: ScalarEmbedding | TokenEmbedding, value: float) -> Tensor:
    """The embeddings of one value in each of the three dimensions, ``[3, E]``."""
    return embedding(torch.full((1, 3), value), torch.arange(3))[0]


@pytest.mark.parametrize("kind", ["shared", "per_dimension"])
def test_a_scalars_embedding_is_an_affine_function_of_it(kind: str) -> None:
    embedding = scalar_embedding(kind)
    at_zero, at_one = by_column(embedding, 0.0), by_column(embedding, 1.0)
    assert not torch.allclose(at_zero, at_one)
    torch.testing.assert_close(by_column(embedding, 0.3), 0.7 * at_zero + 0.3 * at_one)


def test_all_dimensions_share_one_vector_or_have_one_each() -> None:
    shared, own = by_column(scalar_embedding("shared"), 0.3), by_column(scalar_embedding("per_dimension"), 0.3)
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(shared[0], shared[2])
    assert len({tuple(row.tolist()) for row in own}) == 3


def test_the_shared_embedding_has_as_many_weights_as_one_linear_layer() -> None:
    sizes = [sum(p.numel() for p in scalar_embedding(kind).parameters()) for kind in ("shared", "per_dimension")]
    assert sizes == [2 * 4, 3 * 2 * 4]


@pytest.mark.parametrize("kind", ["shared", "per_dimension"])
def test_standardization_maps_each_dimensions_input(kind: str) -> None:
    plain, standardized = scalar_embedding(kind), scalar_embedding(kind)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.125])
    standardized.set_statistics(mean, std)
    values = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    expected = plain((values - mean[DIMENSIONS]) / std[DIMENSIONS], DIMENSIONS)
    torch.testing.assert_close(standardized(values, DIMENSIONS), expected)


def test_a_dimension_without_spread_keeps_its_scale() -> None:
    embedding = scalar_embedding("shared")
    embedding.set_statistics(torch.full((3,), 0.5), torch.zeros(3))
    plain = scalar_embedding("shared")
    torch.testing.assert_close(by_column(embedding, 0.75), by_column(plain, 0.25))


def test_the_statistics_travel_with_the_weights_and_are_not_trained() -> None:
    embedding = scalar_embedding("shared")
    embedding.set_statistics(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.125]))
    again = ScalarEmbedding(3, 4, "shared")
    again.load_state_dict(embedding.state_dict())
    assert torch.equal(by_column(again, 0.4), by_column(embedding, 0.4))
    assert len(list(embedding.parameters())) == 2


EDGES = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.1, 0.2, 0.9, 1.0], [0.0, 0.5, 1.0, 1.0, 1.0]])


def token_embedding(edges: Tensor = EDGES) -> TokenEmbedding:
    """One whose vectors name their dimension and bin."""
    n_dimensions, n_bins = len(edges), edges.shape[1] - 1
    embedding = TokenEmbedding(edges, 2)
    names = torch.cartesian_prod(torch.arange(n_dimensions), torch.arange(n_bins)).float()
    with torch.no_grad():
        embedding.weight.copy_(names)
    return embedding


@pytest.mark.parametrize(
    ("value", "bins"),
    [
        (0.0, [0, 0, 0]),
        (0.1, [0, 1, 0]),  # a bin holds its lower edge
        (0.25, [1, 2, 0]),
        (0.6, [2, 2, 1]),
        (1.0, [3, 3, 1]),  # the end belongs to the last bin that has a width
        (0.999999, [3, 3, 1]),
    ],
)
def test_a_value_has_the_vector_of_its_dimensions_bin(value: float, bins: list[int]) -> None:
    expected = [[float(dimension), float(number)] for dimension, number in enumerate(bins)]
    assert by_column(token_embedding(), value).tolist() == expected


@settings(deadline=None)
@given(
    inner=st.lists(st.floats(0, 1, width=32), max_size=6),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=10),
    on_edges=st.booleans(),
)
def test_the_bin_that_is_embedded_is_the_bin_whose_density_counts(
    inner: list[float], values: list[float], on_edges: bool
) -> None:
    edges = torch.tensor([0.0, *sorted(inner), 1.0])
    n_bins = len(edges) - 1
    sought = torch.tensor([*values, *(inner if on_edges else [])])
    embedded = token_embedding(edges[None])(sought[:, None], torch.zeros(1, dtype=torch.long))[:, 0, 1].long()
    assert (edges.diff()[embedded] > 0).all()
    for value, number in zip(sought, embedded, strict=True):
        alone = torch.full((n_bins,), -torch.inf)
        alone[number] = 0.0  # all mass in the bin that was embedded
        assert FixedBins(edges, alone, validate_args=False).log_prob(value) > -torch.inf


def test_batches_keep_their_shape() -> None:
    values = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    for embedding in (token_embedding(), scalar_embedding("shared")):
        embedded = embedding(values, DIMENSIONS)
        assert embedded.shape[:3] == (2, 3, 5)
        torch.testing.assert_close(embedded[1, 2], embedding(values[1, 2:3], DIMENSIONS)[0])
