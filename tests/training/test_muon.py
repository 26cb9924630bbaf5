"""Muon against PyTorch's, which updates one matrix at a time."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trajectory_adacat.training.muon import Muon, orthogonalize
from trajectory_adacat.training.optimizer import load_optimizer_state, optimizer_state

SHAPES = [(64, 64), (192, 64), (64, 256), (64, 64), (8, 3), (1, 5)]


class Matrices(nn.Module):
    """Random matrices, equal for all instances."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(torch.randn(shape, generator=generator) for shape in SHAPES)


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def take_steps(model: Matrices, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        for parameter, gradient in zip(model.weights, gradients(step), strict=True):
            parameter.grad = gradient
        optimizer.step()


def make(model: Matrices, **changes: float) -> Muon:
    return Muon(model.parameters(), **{"lr": 0.02, "weight_decay": 0.1, **changes})


def test_it_does_what_pytorchs_muon_does() -> None:
    """Up to the rounding of the bfloat16 products there: 2^-9 for each of the iteration's 15."""
    ours, theirs, before = Matrices(), Matrices(), Matrices()
    take_steps(ours, make(ours), range(5))
    pytorchs = torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    take_steps(theirs, pytorchs, range(5))
    for shape, new, expected, old in zip(SHAPES, ours.weights, theirs.weights, before.weights, strict=True):
        error = (new - expected).norm() / (expected - old).norm()
        assert error.item() < 0.03, shape


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 192, 64), (2, 64, 256), (1, 8, 3), (4, 1, 5)])
def test_singular_values_move_close_to_one(shape: tuple[int, int, int]) -> None:
    """Those of the matrices given lie between 0.3 and 3; the singular vectors are kept."""
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    before = 0.3 * 10 ** torch.rand(u.shape[0], u.shape[2], generator=generator)
    found = orthogonalize(u * before[:, None] @ v)
    values = u.mT @ found @ v.mT
    on_diagonal = values.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(values, torch.diag_embed(on_diagonal), atol=1e-4, rtol=0)
    assert float(on_diagonal.min()) > 0.6
    assert float(on_diagonal.max()) < 1.25
    assert found.dtype == torch.float32


def test_matrices_of_one_batch_do_not_mix() -> None:
    matrices = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([orthogonalize(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(orthogonalize(matrices), alone, atol=1e-5, rtol=0)


def test_a_matrix_of_zeros_stays_finite() -> None:
    assert orthogonalize(torch.zeros(1, 4, 3)).tolist() == torch.zeros(1, 4, 3).tolist()


def test_weight_decay_shrinks_the_matrices_by_rate_and_decay() -> None:
    ours, without, before = Matrices(), Matrices(), Matrices()
    take_steps(ours, make(ours, weight_decay=0.5), range(1))
    take_steps(without, make(without, weight_decay=0.0), range(1))
    for new, plain, old in zip(ours.weights, without.weights, before.weights, strict=True):
        torch.testing.assert_close(plain - new, 0.02 * 0.5 * old, atol=1e-5, rtol=1e-4)


def test_a_matrix_without_a_gradient_is_left_alone() -> None:
    model, before = Matrices(), Matrices()
    optimizer = make(model)
    for parameter in list(model.weights)[1:]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    unmoved = [torch.equal(new, old) for new, old in zip(model.weights, before.weights, strict=True)]
    assert unmoved == [True] + [False] * (len(SHAPES) - 1)


def test_a_loaded_state_goes_on_with_the_same_bits() -> None:
    whole, parts, fresh = Matrices(), Matrices(), Matrices()
    take_steps(whole, make(whole), range(4))
    first = make(parts)
    take_steps(parts, first, range(2))
    saved = {name: tensor.clone() for name, tensor in optimizer_state([first], parts).items()}
    assert set(saved) == {f"weights.{i}/momentum_buffer" for i in range(len(SHAPES))}
    fresh.load_state_dict(parts.state_dict())
    second = make(fresh)
    load_optimizer_state([second], fresh, saved)
    take_steps(fresh, second, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(fresh.weights, whole.weights, strict=True))
    take_steps(parts, make(parts), range(2, 4))  # without the state it goes on otherwise
    assert not any(torch.equal(a, b) for a, b in zip(parts.weights, whole.weights, strict=True))


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        make(Matrices()).step(lambda: 0.0)
