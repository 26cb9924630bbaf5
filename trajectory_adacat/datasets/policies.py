"""Behaviour policies of collected datasets, in NumPy."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from trajectory_adacat.robots import RANDOM, Robot

FOLDER = Path(__file__).parent / "behavior"
UNIFORM = "uniform"


Activation = Literal["relu", "tanh"]
Weights = dict[str, np.ndarray]


class BehaviorPolicy(Protocol):
    """A policy that may be stochastic."""

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """Sample an action.

        Returns:
            The action, shape ``[a]``, float32, and its log density (nats, summed over the action's dimensions). It is
            NaN where the policy has no density.
        """
        ...


class Actor(BehaviorPolicy, Protocol):
    """A policy with a mode."""

    @property
    def weights(self) -> Weights:
        """The network: ``{hidden_0,hidden_1,...,mean}.{weight,bias}``, float32, weights ``[inputs, outputs]``."""
        ...

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """Return the action without noise, shape ``[a]``, float32."""
        ...


def hidden_layers(weights: Weights, observations: np.ndarray, activation: Activation) -> np.ndarray:
    """Compute the outputs of the last hidden layer, ``[..., h]``, in float32; observations have shape ``[..., o]``."""
    hidden, layer = observations.astype(np.float32), 0
    while f"hidden_{layer}.weight" in weights:
        raw = hidden @ weights[f"hidden_{layer}.weight"] + weights[f"hidden_{layer}.bias"]
        hidden = np.maximum(raw, 0) if activation == "relu" else np.tanh(raw)
        layer += 1
    return hidden


@dataclass(frozen=True)
class UniformPolicy:
    """Actions sampled uniformly from [-1, 1]."""

    action_size: int

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        action = noise.uniform(-1.0, 1.0, self.action_size).astype(np.float32)
        return action, -self.action_size * float(np.log(2.0))


@dataclass(frozen=True, eq=False)
class SquashedGaussianPolicy:
    """The actor of soft actor-critic: a Gaussian squashed by tanh, with a standard deviation of each state.

    Args:
        weights: see :class:`Actor`, with ``log_std.{weight,bias}`` besides.
        activation: of the hidden layers.
    """

    weights: Weights
    activation: Activation = "relu"

    def gaussian(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and standard deviation before tanh, shape ``[..., a]``; observations have shape ``[..., o]``."""
        w = self.weights
        hidden = hidden_layers(w, observations, self.activation)
        log_std = np.clip(hidden @ w["log_std.weight"] + w["log_std.bias"], -20, 2)
        return hidden @ w["mean.weight"] + w["mean.bias"], np.exp(log_std)

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        mean, std = self.gaussian(observation)
        standard = noise.standard_normal(len(mean))
        raw = mean + std * standard
        log_normal = -0.5 * standard**2 - np.log(std) - 0.5 * np.log(2 * np.pi)
        # log(1 - tanh(x)^2), in a form that stays finite where tanh rounds to 1
        log_slope = 2 * (np.log(2.0) - raw - np.logaddexp(0.0, -2 * raw))
        return np.tanh(raw).astype(np.float32), float(np.sum(log_normal - log_slope))

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Actor`."""
        mean, _ = self.gaussian(observation)
        return np.tanh(mean)


@dataclass(frozen=True, eq=False)
class TanhPolicy:
    """The actor of TD3: deterministic, with tanh at the output.

    Args:
        weights: see :class:`Actor`.
        activation: of the hidden layers.
    """

    weights: Weights
    activation: Activation = "relu"

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return the mode, which has no density."""
        return self.mode(observation), float("nan")

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Actor`."""
        hidden = hidden_layers(self.weights, observation, self.activation)
        return np.tanh(hidden @ self.weights["mean.weight"] + self.weights["mean.bias"])


@dataclass(frozen=True, eq=False)
class ClippedGaussianPolicy:
    """The actor of PPO: a Gaussian with one standard deviation for all states, whose samples are clipped to [-1, 1].

    Clipping puts mass on the bounds, so actions have no density.

    Args:
        weights: see :class:`Actor`, with ``log_std``, shape ``[a]``, besides.
        activation: of the hidden layers.
    """

    weights: Weights
    activation: Activation = "tanh"

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        mean = self._mean(observation)
        sample = mean + np.exp(self.weights["log_std"]) * noise.standard_normal(len(mean))
        return np.clip(sample, -1.0, 1.0).astype(np.float32), float("nan")

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Actor`."""
        return np.clip(self._mean(observation), -1.0, 1.0)

    def _mean(self, observation: np.ndarray) -> np.ndarray:
        hidden = hidden_layers(self.weights, observation, self.activation)
        return hidden @ self.weights["mean.weight"] + self.weights["mean.bias"]


@dataclass(frozen=True, eq=False)
class ModePolicy:
    """The mode of an actor, which has no density."""

    actor: Actor

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        return self.actor.mode(observation), float("nan")


@dataclass(frozen=True, eq=False)
class NormalizedPolicy:
    """An actor that was trained on normalized observations, such as those of Stable-Baselines3's VecNormalize.

    Args:
        actor: acts on (observation - mean) / sqrt(variance + epsilon), clipped to [-clip, clip].
        mean: of the observations, shape ``[o]``.
        variance: of the observations, shape ``[o]``.
        epsilon: added to the variance.
        clip: largest normalized value.
    """

    actor: Actor
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = 1e-8
    clip: float = 10.0

    @property
    def weights(self) -> Weights:
        """See :class:`Actor`."""
        return self.actor.weights

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        return self.actor.act(self._normalize(observation), noise)

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Actor`."""
        return self.actor.mode(self._normalize(observation))

    def _normalize(self, observation: np.ndarray) -> np.ndarray:
        scaled = (observation - self.mean) / np.sqrt(self.variance + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip)


def _policy_path(robot: Robot, quality: str) -> Path:
    return FOLDER / f"{robot.id}-{quality}.npz"


@functools.cache
def policy_sha256(robot: Robot, quality: str) -> str:
    """Return the SHA-256 of the policy file of ``<robot>-<quality>-collected``, or ``uniform`` for random actions."""
    if quality == RANDOM:
        return UNIFORM
    return hashlib.sha256(_policy_path(robot, quality).read_bytes()).hexdigest()


def load_policy(robot: Robot, quality: str) -> BehaviorPolicy:
    """Load the policy of ``<robot>-<quality>-collected``."""
    if quality == RANDOM:
        return UniformPolicy(robot.action_size)
    with np.load(_policy_path(robot, quality)) as weights:
        return SquashedGaussianPolicy(dict(weights))
