"""Hand-made episodes and tiny critics."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trajectory_adacat.critic.config import CriticConfig, CriticForm, NetworkConfig
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.trainer import CriticTrainer
from trajectory_adacat.critic.transitions import Transitions
from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Trajectories
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import OfflineRunConfig

SMALL = NetworkConfig(hidden_size=16, n_hidden=2)
MakeTrainer = Callable[..., CriticTrainer]


def make_episode(
    states: Sequence[float], rewards: Sequence[float], terminated: bool, final: float = float("nan")
) -> Episode:
    """An episode of one-dimensional observations, with alternating actions -1 and 1."""
    observations = np.array(states, np.float32)[:, None]
    actions = np.resize(np.array([-1.0, 1.0], np.float32), (len(states), 1))
    last = np.array([final], np.float32)
    return Episode(observations, actions, np.array(rewards, np.float32), terminated, not terminated, last)


def make_transitions(
    episodes: Sequence[Episode], discount: float = 0.5, penalty: float | None = None
) -> tuple[Transitions, MinMaxNormalizer]:
    """The transitions of episodes, and the normalizer of a model of them."""
    flat = Trajectories.from_episodes(episodes, discount, penalty)
    return Transitions.from_trajectories(flat, episodes, discount), MinMaxNormalizer.fit(flat.transitions)


def make_critic(transitions: Transitions, normalizer: MinMaxNormalizer, networks: NetworkConfig = SMALL) -> Critic:
    """A critic for the transitions, with fixed first weights."""
    sizes = (transitions.observations.shape[1], transitions.actions.shape[1])
    torch.manual_seed(0)
    critic = Critic(CriticForm(observation_size=sizes[0], action_size=sizes[1], networks=networks))
    return critic.set_statistics(transitions.observations, normalizer, transitions.returns)


def set_scaled_value(critic: Critic, value: float) -> None:
    """Let V be a constant: this many scales above the offset."""
    last = critic.v_network.layers[-1]
    with torch.no_grad():
        last.weight.zero_()  # type: ignore[operator]
        last.bias.fill_(value)  # type: ignore[operator]


def train(episodes: Sequence[Episode], folder: Path, discount: float = 0.5, **changes: float) -> Critic:
    """A small critic trained on all episodes; keywords override settings."""
    transitions, normalizer = make_transitions(episodes, discount)
    values = {"n_steps": 600, "mc_steps": 0, "batch_size": 32, "hidden_size": 32, "learning_rate": 3e-3}
    values |= {"target_rate": 0.05, "expectile": 0.5, "log_freq": 10_000, "n_saves": 1, **changes}
    config = build(CriticConfig, values)
    critic = make_critic(transitions, normalizer, config.networks)
    CriticTrainer(critic, transitions, None, config, build(OfflineRunConfig, values), folder, {}, verbose=False).train()
    return critic


@pytest.fixture
def make_trainer() -> MakeTrainer:
    """Return a function that makes a trainer of random episodes for a folder; keywords override settings."""

    def make(folder: Path, with_held_out: bool = True, **changes: Any) -> CriticTrainer:
        generator = np.random.default_rng(0)

        def episode(terminated: bool) -> Episode:
            states, rewards = generator.normal(size=(2, 9)).tolist()
            return make_episode(states, rewards, terminated, 0.5)

        transitions, normalizer = make_transitions([episode(i % 2 == 0) for i in range(6)])
        held_out = make_transitions([episode(True), episode(False)])[0] if with_held_out else None
        values = {"n_steps": 8, "mc_steps": 3, "batch_size": 16, "n_saves": 2, "log_freq": 1, "hidden_size": 8}
        values |= changes
        config, run = build(CriticConfig, values), build(OfflineRunConfig, values)
        critic = make_critic(transitions, normalizer, config.networks)
        return CriticTrainer(critic, transitions, held_out, config, run, folder, {"name": "test"}, verbose=False)

    return make
