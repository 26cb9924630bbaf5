"""How far Gymnasium's ``-v4`` robots are from the old engine, as shipped and corrected, and what that does to returns.

    python benchmarks/dynamics.py

prints, for each robot, the largest deviation from the recorded observations of its gaits after 10 and after 300 steps,
how many recorded episodes end at the recorded step, and the return of one fixed policy: the behaviour policy that ships
with the package, without its noise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from tqdm import tqdm

from trajectory_adacat.configuration import CommandParser, run_command
from trajectory_adacat.datasets.collected import MAX_EPISODE_STEPS
from trajectory_adacat.datasets.policies import SquashedGaussianPolicy, load_policy
from trajectory_adacat.environments import Dynamics, make_environment

RECORDINGS = Path(__file__).parents[1] / "tests" / "fixtures" / "gym_v2_mujoco210.npz"
ROBOTS = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "walker2d": "Walker2d"}
GAITS = 4
RANDOM_EPISODES = 10
HORIZONS = (10, 300)  # steps


class Parser(CommandParser):
    """Compare both dynamics with the recordings of the old engine, and measure a fixed policy's return on both."""

    recordings: Path = RECORDINGS  # recordings of the old engine
    episodes: int = 40  # episodes of the fixed policy on each environment, 2 or more; 0 leaves the returns out


def robot_environment(robot: str, dynamics: Dynamics) -> MujocoEnv:
    """A robot without wrappers."""
    env = make_environment(f"{robot}-medium-collected", dynamics).unwrapped
    assert isinstance(env, MujocoEnv)
    return env


def replay(env: MujocoEnv, recordings: dict[str, np.ndarray], episode: str) -> tuple[np.ndarray, bool]:
    """Drive ``env`` through a recorded episode.

    Returns:
        The largest deviation of each observation from the recorded one, shape ``[T]``, and whether the episode ended at
        the recorded step.
    """
    env.reset(seed=0)
    env.set_state(recordings[f"{episode}_qp"], recordings[f"{episode}_qv"])
    deviations, ends = [], []
    recorded = zip(recordings[f"{episode}_A"], recordings[f"{episode}_O"][1:], strict=True)
    for action, expected in recorded:
        observation, _, terminated, _, _ = env.step(action)
        deviations.append(np.abs(observation - expected).max())
        ends.append(terminated)
    return np.array(deviations), bool(np.array_equal(ends, recordings[f"{episode}_D"]))


def compare_with_recordings(recordings: dict[str, np.ndarray]) -> None:
    """Print the deviations on the recorded gaits, and how many episodes end at the recorded step."""
    print(
        "robot        dynamics  after 10 steps  after 300 steps  gaits and random episodes ending at the recorded step"
    )
    for robot, prefix in ROBOTS.items():
        gaits = [f"{prefix}_gait{i}" for i in range(GAITS)]
        random = [f"{prefix}_random{i}" for i in range(RANDOM_EPISODES)]
        for dynamics in get_args(Dynamics):
            env = robot_environment(robot, dynamics)
            replays = {episode: replay(env, recordings, episode) for episode in gaits + random}
            worst = [max(replays[gait][0][step - 1] for gait in gaits) for step in HORIZONS]
            ended = [f"{sum(replays[e][1] for e in episodes)} of {len(episodes)}" for episodes in (gaits, random)]
            print(f"{robot:12} {dynamics:8}  {worst[0]:14.1e}  {worst[1]:15.1e}  {ended[0]}, {ended[1]}")


def greedy_return(env: MujocoEnv, policy: SquashedGaussianPolicy, seed: int) -> tuple[float, int]:
    """The return and the length of one episode of the policy's modal actions."""
    observation, _ = env.reset(seed=seed)
    rewards: list[float] = []
    terminated = False
    while not terminated and len(rewards) < MAX_EPISODE_STEPS:
        mean, _ = policy.gaussian(observation)
        observation, reward, terminated, _, _ = env.step(np.tanh(mean))
        rewards.append(float(reward))
    return sum(rewards), len(rewards)


def compare_returns(episodes: int) -> None:
    """Print mean and standard deviation of a fixed policy's returns over episodes seeded 0, 1, 2, ..."""
    print("robot        dynamics  return  standard deviation  length")
    for robot in ROBOTS:
        for dynamics in get_args(Dynamics):
            env = robot_environment(robot, dynamics)
            policy = load_policy(robot, "medium", env.model.nu)
            assert isinstance(policy, SquashedGaussianPolicy)
            seeds = tqdm(range(episodes), desc=f"{robot}, {dynamics} dynamics", leave=False)
            returns, lengths = np.array([greedy_return(env, policy, seed) for seed in seeds]).T
            print(f"{robot:12} {dynamics:8}  {returns.mean():6.0f}  {returns.std(ddof=1):18.0f}  {lengths.mean():6.0f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print both comparisons."""
    args = Parser().parse(argv)
    with np.load(args.recordings) as file:
        recordings = dict(file)
    compare_with_recordings(recordings)
    if args.episodes:
        compare_returns(args.episodes)


if __name__ == "__main__":
    run_command(main)
