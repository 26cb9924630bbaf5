"""Learned and rotary positions."""

import torch

from trajectory_adacat.models.positions import LearnedPositions, RotaryPositions, rotate

D, E, HEAD = 5, 6, 8


def rotary() -> RotaryPositions:
    positions = RotaryPositions(D, E, HEAD)
    torch.nn.init.normal_(positions.weight)
    return positions


def test_learned_positions_have_a_vector_each_and_turn_nothing() -> None:
    positions = LearnedPositions(4, E)
    torch.nn.init.normal_(positions.weight)
    places = torch.tensor([2, 0, 3])
    assert torch.equal(positions(places), positions.weight[places])
    features = torch.randn(3, HEAD)
    assert torch.equal(rotate(features, positions.rotation(places)), features)


def test_rotary_positions_repeat_their_vectors_in_each_transition() -> None:
    positions = rotary()
    assert torch.equal(positions(torch.arange(D)), positions(torch.arange(D) + 3 * D))
    assert len(positions(torch.arange(D)).unique(dim=0)) == D


def turned(positions: RotaryPositions, features: torch.Tensor, place: int) -> torch.Tensor:
    return rotate(features, positions.rotation(torch.tensor([place])))


def test_products_of_turned_features_depend_on_the_distance_in_transitions_alone() -> None:
    positions, (query, key) = rotary(), torch.randn(2, 1, HEAD)
    products = {
        (a, b): float((turned(positions, query, a * D + 1) * turned(positions, key, b * D + 3)).sum())
        for a, b in ((0, 0), (7, 7), (2, 0), (9, 7), (1, 0))
    }
    assert abs(products[0, 0] - products[7, 7]) < 1e-5
    assert abs(products[2, 0] - products[9, 7]) < 1e-5
    assert abs(products[2, 0] - products[1, 0]) > 1e-3


def test_turning_keeps_lengths_and_the_first_transition_as_it_is() -> None:
    positions, features = rotary(), torch.randn(1, HEAD)
    torch.testing.assert_close(turned(positions, features, 40 * D).norm(), features.norm())
    assert torch.equal(turned(positions, features, D - 1), features)
