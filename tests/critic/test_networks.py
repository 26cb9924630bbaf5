"""The networks of a critic: an ensemble is separate networks, and outputs are in the environment's units."""

import pytest
import torch
from torch import Tensor, nn

from trajectory_adacat.critic.config import CriticForm, NetworkConfig
from trajectory_adacat.critic.networks import Critic, EnsembleMLP
from trajectory_adacat.datasets.normalization import MinMaxNormalizer


def one_of(ensemble: EnsembleMLP, index: int, layer_norm: bool) -> nn.Sequential:
    """One network of an ensemble, made of torch's own layers."""
    layers: list[nn.Module] = []
    weights = [layer for layer in ensemble.layers if hasattr(layer, "weight")]
    for layer in weights:
        linear = nn.Linear(*layer.weight.shape[1:])  # type: ignore[union-attr]
        linear.load_state_dict({"weight": layer.weight[index].T, "bias": layer.bias[index, 0]})  # type: ignore[index]
        layers.append(linear)
        if layer is not weights[-1]:
            if layer_norm:
                layers.append(nn.LayerNorm(linear.out_features, elementwise_affine=False))
            layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(0))


def learn(networks: list[nn.Module], inputs: Tensor, targets: Tensor) -> Tensor:
    """Teach the networks for five steps; return their outputs, one row each."""
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()], lr=0.01)
    for _ in range(5):
        outputs = torch.cat([network(inputs).reshape(-1, len(inputs)) for network in networks])
        optimizer.zero_grad()
        (outputs - targets).square().mean(1).sum().backward()
        optimizer.step()
    return torch.cat([network(inputs).reshape(-1, len(inputs)) for network in networks]).detach()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_batched_ensemble_learns_as_separate_networks_do(layer_norm: bool) -> None:
    torch.manual_seed(0)
    ensemble = EnsembleMLP(3, 5, NetworkConfig(hidden_size=8, layer_norm=layer_norm))
    apart: list[nn.Module] = [one_of(ensemble, index, layer_norm) for index in range(3)]
    inputs, targets = torch.randn(20, 5), torch.randn(20)
    start = ensemble(inputs).detach()
    together = learn([ensemble], inputs, targets)
    torch.testing.assert_close(together, learn(apart, inputs, targets), atol=1e-4, rtol=1e-4)
    assert (together - start).abs().max() > 0.01
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.fixture
def critic() -> Critic:
    """A critic of returns 100 and 300, with a constant dimension in observations and actions."""
    torch.manual_seed(0)
    networks = NetworkConfig(hidden_size=8, n_critics=3)
    critic = Critic(CriticForm(observation_size=2, action_size=2, networks=networks))
    observations = torch.tensor([[0.0, 7.0], [2.0, 7.0]])
    normalizer = MinMaxNormalizer(torch.tensor([0.0, 7, -4, 3, 0, 0]), torch.tensor([2.0, 7, 4, 3, 1, 1]))
    return critic.set_statistics(observations, normalizer, torch.tensor([100.0, 300.0]))


def test_outputs_have_the_inputs_leading_dimensions(critic: Critic) -> None:
    observations, actions = torch.rand(4, 5, 2, dtype=torch.float64), torch.rand(4, 5, 2, dtype=torch.float64)
    q, value = critic.q(observations, actions), critic.value(observations)
    assert q.shape == (3, 4, 5)
    assert value.shape == (4, 5)
    assert q.dtype == value.dtype == torch.float32
    torch.testing.assert_close(critic.q(observations[1, 2], actions[1, 2]), q[:, 1, 2])
    torch.testing.assert_close(critic.value(observations[1, 2]), value[1, 2])


def test_outputs_are_in_the_environments_units(critic: Critic) -> None:
    observations, actions = torch.rand(6, 2), torch.rand(6, 2)
    before = critic.q(observations, actions), critic.value(observations)
    critic.offset += 1000
    critic.scale *= 2
    after = critic.q(observations, actions), critic.value(observations)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new - 1200, (old - 200) * 2, atol=1e-2, rtol=0)


def test_constant_dimensions_are_left_in_the_middle(critic: Critic) -> None:
    assert critic.encode_observations(torch.tensor([2.0, 7.0])).tolist() == [1, 0]
    assert critic.encode_actions(torch.tensor([[4.0, 3.0], [-9.0, 3.0]])).tolist() == [[1, 0], [-1, 0]]


def test_equal_returns_are_not_scaled() -> None:
    critic = Critic(CriticForm(observation_size=1, action_size=1))
    critic.set_statistics(torch.rand(3, 1), MinMaxNormalizer(torch.zeros(4), torch.ones(4)), torch.full((3,), 5.0))
    assert (float(critic.offset), float(critic.scale)) == (5, 1)


def test_observations_that_float32_cannot_resolve_are_told_apart() -> None:
    critic = Critic(CriticForm(observation_size=1, action_size=1))
    observations = torch.tensor([[1e9], [1e9 + 1]], dtype=torch.float64)
    low = torch.tensor([1e9, 0, 0, 0], dtype=torch.float64)
    critic.set_statistics(observations, MinMaxNormalizer(low, low + 1), torch.tensor([0.0, 1.0]))
    assert critic.encode_observations(observations)[:, 0].tolist() == [-1, 1]
