"""The networks of a critic: an ensemble for Q, computed as one batched product, and one network for V."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trajectory_adacat.critic.config import CriticForm, NetworkConfig
from trajectory_adacat.datasets.normalization import MinMaxNormalizer


class EnsembleLinear(nn.Module):
    """N linear layers of the same sizes, with weights ``[N, in, out]``; each starts as torch's ``nn.Linear`` does."""

    def __init__(self, n_networks: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_inputs)
        self.weight = nn.Parameter(torch.empty(n_networks, n_inputs, n_outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_networks, 1, n_outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``[N, B, out]`` for ``inputs [N, B, in]``."""
        return torch.baddbmm(self.bias, inputs, self.weight)


class LayerNorm(nn.Module):
    """Layer normalization without weights of its own: the next layer has some, and a step takes less time."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs [..., size]`` with mean 0 and variance 1 in the last dimension."""
        return F.layer_norm(inputs, inputs.shape[-1:])


class EnsembleMLP(nn.Module):
    """N networks with hidden layers of ReLUs and one output each, applied to the same inputs."""

    def __init__(self, n_networks: int, n_inputs: int, config: NetworkConfig) -> None:
        super().__init__()
        self.n_networks = n_networks
        layers: list[nn.Module] = []
        for _ in range(config.n_hidden):
            layers.append(EnsembleLinear(n_networks, n_inputs, config.hidden_size))
            if config.layer_norm:
                layers.append(LayerNorm())
            layers.append(nn.ReLU(inplace=True))
            n_inputs = config.hidden_size
        self.layers = nn.Sequential(*layers, EnsembleLinear(n_networks, n_inputs, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs ``[N, B]`` for ``inputs [B, in]``."""
        return self.layers(inputs.expand(self.n_networks, -1, -1)).squeeze(-1)


class Critic(nn.Module):
    """Q of N networks, and V, in the environment's units.

    Inside, observations are standardized, actions scaled to [-1, 1], and outputs are (value - offset) / scale.

    Args:
        form: the sizes.
    """

    observation_mean: Tensor  # [o], float64
    observation_std: Tensor  # [o], float64
    action_low: Tensor  # [a], float64
    action_high: Tensor  # [a], float64
    offset: Tensor  # scalar, float32
    scale: Tensor  # scalar, float32

    def __init__(self, form: CriticForm) -> None:
        super().__init__()
        self.form = form
        o, a = form.observation_size, form.action_size
        self.q_networks = EnsembleMLP(form.networks.n_critics, o + a, form.networks)
        self.v_network = EnsembleMLP(1, o, form.networks)
        # float64 as in the data, where float32 cannot resolve some dimensions
        self.register_buffer("observation_mean", torch.zeros(o, dtype=torch.float64))
        self.register_buffer("observation_std", torch.ones(o, dtype=torch.float64))
        self.register_buffer("action_low", -torch.ones(a, dtype=torch.float64))
        self.register_buffer("action_high", torch.ones(a, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def set_statistics(self, observations: Tensor, normalizer: MinMaxNormalizer, returns: Tensor) -> "Critic":
        """Set what inputs and outputs are scaled by, before the first step; return the critic.

        Args:
            observations: of the training split, ``[n, o]``.
            normalizer: of the training split's transitions; its bounds of actions are used.
            returns: discounted returns of the training split, ``[n]``, in the environment's units.
        """
        o, a = self.form.observation_size, self.form.action_size
        observations, returns = observations.double(), returns.double()
        varies = normalizer.high[:o] > normalizer.low[:o]
        self.observation_mean.copy_(observations.mean(0))
        self.observation_std.copy_(torch.where(varies, observations.std(0, correction=0), 1.0))
        self.action_low.copy_(normalizer.low[o : o + a])
        self.action_high.copy_(normalizer.high[o : o + a])
        self.offset.copy_(returns.mean())
        self.scale.copy_(returns.std(correction=0) if bool(returns.max() > returns.min()) else torch.ones(()))
        return self

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return each network's Q, float32, ``[N, ...]``, in the environment's units.

        Args:
            observations: ``[..., o]`` in the environment's units.
            actions: ``[..., a]``, with the same leading dimensions; those outside the data's bounds are clamped.
        """
        inputs = torch.cat([self.encode_observations(observations), self.encode_actions(actions)], -1)
        outputs = self.q_networks(inputs.reshape(-1, inputs.shape[-1]))
        return self.in_units(outputs).reshape(-1, *inputs.shape[:-1])

    def value(self, observations: Tensor) -> Tensor:
        """Return V, float32, ``[...]``, in the environment's units, for ``observations [..., o]`` in its units."""
        inputs = self.encode_observations(observations)
        outputs = self.v_network(inputs.reshape(-1, inputs.shape[-1]))
        return self.in_units(outputs).reshape(inputs.shape[:-1])

    def encode_observations(self, observations: Tensor) -> Tensor:
        """Return standardized observations, float32, ``[..., o]``."""
        return ((observations.double() - self.observation_mean) / self.observation_std).float()

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Return actions scaled to [-1, 1], float32, ``[..., a]``; constant dimensions are 0."""
        return MinMaxNormalizer(self.action_low, self.action_high).normalize(actions) * 2.0 - 1.0

    def in_units(self, outputs: Tensor) -> Tensor:
        """Return outputs of the networks in the environment's units."""
        return outputs * self.scale + self.offset
