"""The behaviour policies of the collected datasets, in NumPy."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from trajectory_adacat.robots import RANDOM, Robot

FOLDER = Path(__file__).parent / "behavior"
UNIFORM = "uniform"


class BehaviorPolicy(Protocol):
    """A stochastic policy with known action densities."""

    def act(self, observation: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, float]:
        """Sample an action, shape ``[a]``, float32, and its log density (nats, summed over the action's dimensions)."""
        ...


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
    """A soft actor-critic policy: two hidden ReLU layers and a tanh-squashed Gaussian.

    Args:
        weights: ``{hidden_0,hidden_1,mean,log_std}.{weight,bias}``, weights with shape ``[inputs, outputs]``, float32.
    """

    weights: dict[str, np.ndarray]

    def gaussian(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and standard deviation before tanh, shape ``[..., a]``; observations have shape ``[..., o]``."""
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
        # log(1 - tanh(x)^2), in a form that stays finite where tanh rounds to 1
        log_slope = 2 * (np.log(2.0) - raw - np.logaddexp(0.0, -2 * raw))
        return np.tanh(raw).astype(np.float32), float(np.sum(log_normal - log_slope))


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
