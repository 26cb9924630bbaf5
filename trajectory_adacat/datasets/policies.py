"""The behaviour policies that collect the embedded datasets, in plain NumPy."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

FOLDER = Path(__file__).parent / "behavior"
UNIFORM = "uniform"


class BehaviorPolicy(Protocol):
    """A stochastic policy whose action likelihoods are known."""

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """Draw an action, shape ``[a]``, float32, and its log density (nats, summed over the action's dimensions)."""
        ...


@dataclass(frozen=True)
class UniformPolicy:
    """Actions drawn uniformly from [-1, 1]."""

    action_size: int

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        action = noise.uniform(-1.0, 1.0, self.action_size).astype(np.float32)
        return action, -self.action_size * float(np.log(2.0))


@dataclass(frozen=True, eq=False)
class SquashedGaussianPolicy:
    """A soft actor-critic policy: two hidden layers of rectified linear units, and a Gaussian squashed by tanh.

    Args:
        weights: ``{hidden_0,hidden_1,mean,log_std}.{weight,bias}``, weights with shape ``[inputs, outputs]``, float32.
    """

    weights: dict[str, np.ndarray]

    def gaussian(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation before the squashing, shape ``[..., a]``, of observations, shape ``[..., o]``."""
        w = self.weights
        hidden = np.maximum(observations.astype(np.float32) @ w["hidden_0.weight"] + w["hidden_0.bias"], 0)
        hidden = np.maximum(hidden @ w["hidden_1.weight"] + w["hidden_1.bias"], 0)
        log_std = np.clip(hidden @ w["log_std.weight"] + w["log_std.bias"], -20, 2)
        return hidden @ w["mean.weight"] + w["mean.bias"], np.exp(log_std)

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """See :class:`BehaviorPolicy`."""
        mean, std = self.gaussian(observation)
        standard = noise.standard_normal(len(mean))
        raw = mean + std * standard
        log_normal = -0.5 * standard**2 - np.log(std) - 0.5 * np.log(2 * np.pi)
        # log(1 - tanh(x)^2), written so that it stays finite where tanh rounds to 1
        log_slope = 2 * (np.log(2.0) - raw - np.logaddexp(0.0, -2 * raw))
        return np.tanh(raw).astype(np.float32), float(np.sum(log_normal - log_slope))


def _policy_path(robot: str, quality: str) -> Path:
    return FOLDER / f"{robot}-{quality}.npz"


@functools.cache
def policy_sha256(robot: str, quality: str) -> str:
    """What identifies the policy of ``{robot}-{quality}-collected``: its file's hash, or ``uniform``."""
    if quality == "random":
        return UNIFORM
    return hashlib.sha256(_policy_path(robot, quality).read_bytes()).hexdigest()


def load_policy(robot: str, quality: str, action_size: int) -> BehaviorPolicy:
    """The policy that collects ``{robot}-{quality}-collected``."""
    if quality == "random":
        return UniformPolicy(action_size)
    with np.load(_policy_path(robot, quality)) as weights:
        return SquashedGaussianPolicy(dict(weights))
