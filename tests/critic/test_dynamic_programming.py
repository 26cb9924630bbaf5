"""Implicit Q-learning on a small random MDP against dynamic programming."""

import numpy as np
import pytest
import torch

from trajectory_adacat.datasets import Episode

from .conftest import train

N_STATES, N_ACTIONS, DISCOUNT = 4, 3, 0.8
EXPECTILES = (0.5, 0.9)
TOLERANCE = 0.12
Table = np.ndarray


def record() -> list[Episode]:
    """Episodes of a random policy in a random MDP, with one-hot observations and actions."""
    generator = np.random.default_rng(1)
    policy = generator.dirichlet(np.full(N_ACTIONS, 3.0), N_STATES)
    following = generator.dirichlet(np.full(N_STATES, 0.5), (N_STATES, N_ACTIONS))
    rewards = generator.normal(size=(N_STATES, N_ACTIONS))
    episodes = []
    for _ in range(60):
        states: list[int] = [int(generator.integers(N_STATES))]
        actions: list[int] = []
        for _ in range(50):
            actions.append(int(generator.choice(N_ACTIONS, p=policy[states[-1]])))
            states.append(int(generator.choice(N_STATES, p=following[states[-1], actions[-1]])))
        seen, acted = np.eye(N_STATES, dtype=np.float32)[states], np.eye(N_ACTIONS, dtype=np.float32)[actions]
        earned = rewards[states[:-1], actions].astype(np.float32)
        episodes.append(Episode(seen[:-1], acted, earned, False, True, seen[-1]))
    return episodes


def expectile_of(q: Table, policy: Table, expectile: float) -> Table:
    """Return the expectile of each row under the policy, ``[s]``, by bisection."""
    low, high = q.min(1), q.max(1)
    for _ in range(60):
        middle = (low + high) / 2
        gaps = q - middle[:, None]
        is_above = (policy * np.where(gaps < 0, 1 - expectile, expectile) * gaps).sum(1) > 0
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    return low


def solve(episodes: list[Episode], expectile: float | None) -> Table:
    """Return Q ``[s, a]`` of the MDP in the data, where V is Q's expectile under their policy; None: its maximum."""
    counts, sums = np.zeros((N_STATES, N_ACTIONS, N_STATES)), np.zeros((N_STATES, N_ACTIONS))
    for episode in episodes:
        states = [*episode.observations.argmax(1).tolist(), int(episode.final_observation.argmax())]
        actions = episode.actions.argmax(1)
        np.add.at(counts, (states[:-1], actions, states[1:]), 1)
        np.add.at(sums, (states[:-1], actions), episode.rewards)
    visits = counts.sum(2)
    assert visits.min() > 20  # every action is in the data
    policy, following, rewards = visits / visits.sum(1, keepdims=True), counts / visits[:, :, None], sums / visits
    q = rewards
    for _ in range(200):
        q = rewards + DISCOUNT * following @ (q.max(1) if expectile is None else expectile_of(q, policy, expectile))
    return q


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Table]:
    """Q ``[s, a]`` of a trained critic for each expectile, the mean of its networks."""
    states = torch.eye(N_STATES)[:, None].expand(-1, N_ACTIONS, -1)
    actions = torch.eye(N_ACTIONS).expand(N_STATES, -1, -1)
    settings = {"n_steps": 800, "mc_steps": 100, "batch_size": 128, "learning_rate": 5e-3}
    tables = {}
    for expectile in EXPECTILES:
        critic = train(record(), tmp_path_factory.mktemp("mdp"), DISCOUNT, expectile=expectile, **settings)
        tables[expectile] = critic.q(states, actions).mean(0).detach().numpy()
    return tables


@pytest.mark.parametrize("expectile", EXPECTILES)
def test_q_is_that_of_dynamic_programming_with_the_expectile(learned: dict[float, Table], expectile: float) -> None:
    """With 0.5 that is the value of the data's policy."""
    expected = solve(record(), expectile)
    assert np.abs(learned[expectile] - expected).max() < TOLERANCE
    others = [solve(record(), other) for other in (*EXPECTILES, None) if other != expectile]
    assert all(np.abs(expected - other).min() > 2 * TOLERANCE for other in others)  # so that they are told apart


def test_a_high_expectile_lies_between_the_policys_value_and_the_optimum(learned: dict[float, Table]) -> None:
    assert (learned[0.9] > solve(record(), 0.5)).all()
    assert (learned[0.9] < solve(record(), None)).all()
