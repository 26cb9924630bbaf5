"""A stand-in for Stable-Baselines3's SAC: the interface that is used, and weights that change each step."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import torch
from torch import nn


class Actor(nn.Module):
    """Layers with SAC's names."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.latent_pi = nn.Sequential(nn.Linear(n_inputs, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        self.mu, self.log_std = nn.Linear(4, n_outputs), nn.Linear(4, n_outputs)


class ReplayBuffer(list):
    """Transitions in the order in which they came."""

    def add(self, *transition: Any) -> None:
        """Keep a transition."""
        self.append(transition)


class SAC:
    """Takes random actions, and stops as the real one does: after the step at which the callback returns False.

    Attributes:
        made: all that were made, in their order.
    """

    made: ClassVar[list["SAC"]] = []

    def __init__(
        self, policy: str, env: gymnasium.Env, *, learning_starts: int, seed: int, device: str, verbose: int
    ) -> None:
        assert (policy, device, verbose) == ("MlpPolicy", "cpu", 0)
        SAC.made.append(self)
        torch.manual_seed(seed)
        self._env, self._observation = env, None
        self.policy = nn.ModuleDict({"actor": Actor(env.observation_space.shape[0], env.action_space.shape[0])})
        self.log_ent_coef = torch.zeros(1, requires_grad=True)
        self.replay_buffer = ReplayBuffer()
        self.num_timesteps = self._n_updates = 0
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int) -> None:
        """Seed the actions and the environment."""
        self._env.action_space.seed(seed)
        self._seed = seed

    def get_parameters(self) -> dict[str, Any]:
        """Return the weights."""
        return {"policy": self.policy.state_dict()}

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Set the weights."""
        self.policy.load_state_dict(parameters["policy"])

    def learn(self, total: int, callback: Callable[[Any, Any], bool], reset_num_timesteps: bool) -> None:
        """Take ``total`` steps."""
        assert not reset_num_timesteps
        if self._observation is None:
            self._observation = self._env.reset(seed=self._seed)[0]
        for _ in range(total):
            self._observation, _, terminated, truncated, _ = self._env.step(self._env.action_space.sample())
            if terminated or truncated:
                self._observation = self._env.reset()[0]
            self.num_timesteps += 1
            if not callback({}, {}):
                return
            self._n_updates += 1
            with torch.no_grad():
                for weight in (*self.policy.parameters(), self.log_ent_coef):
                    weight += 1e-3


MODULE = SimpleNamespace(SAC=SAC)
