"""Compare native and v2 dynamics with recordings of MuJoCo 2.1.0, and the returns of a fixed policy on both.

    python benchmarks/dynamics.py

prints, for each robot, the largest deviation from the recorded observations after 10 and after 300 steps, the number of
recorded episodes that end at the recorded step, and the return of a fixed policy: the packaged behaviour policy without
noise.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from tqdm import tqdm

from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets.policies import Actor, SquashedGaussianPolicy, load_policy
from trajectory_adacat.environments import Dynamics, make_environment
from trajectory_adacat.robots import MAX_EPISODE_STEPS, ROBOTS, Robot

RECORDINGS = sorted((Path(__file__).parents[1] / "tests" / "fixtures").glob("gym_v2_mujoco210*.npz"))
HORIZONS = (10, 300)  # steps


class Parser(CommandParser):
    """Compare both dynamics with recordings of MuJoCo 2.1.0, and measure a fixed policy's return on both."""

    episodes: int = 40  # episodes per environment of the fixed policy, 2 or more; 0 skips the returns


def robot_environment(robot: Robot, dynamics: Dynamics) -> MujocoEnv:
    """Make a robot's environment without wrappers."""
    env = make_environment(robot.native_id, dynamics).unwrapped
    assert isinstance(env, MujocoEnv)
    return env


def replay(env: MujocoEnv, recordings: dict[str, np.ndarray], episode: str) -> tuple[np.ndarray, bool]:
    """Repeat a recorded episode's actions in ``env``.

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
        deviations.append(np.abs(observation - expected[: len(observation)]).max())
        ends.append(terminated)
    return np.array(deviations), bool(np.array_equal(ends, recordings[f"{episode}_D"]))


def compare_with_recordings(recordings: dict[str, np.ndarray]) -> None:
    """Print, by robot and kind of episode, the largest deviations and how many episodes end at the recorded step."""
    print("robot        episodes  dynamics  after 10 steps  after 300 steps  ending at the recorded step")
    for robot, kind, dynamics in itertools.product(ROBOTS.values(), ("gait", "random"), get_args(Dynamics)):
        episodes = [key[:-2] for key in recordings if key.startswith(f"{robot.name}_{kind}") and key.endswith("_A")]
        env = robot_environment(robot, dynamics)
        replays = [replay(env, recordings, episode) for episode in episodes]
        worst = [max((d[steps - 1] for d, _ in replays if len(d) >= steps), default=np.nan) for steps in HORIZONS]
        if replays:
            ended = f"{sum(same for _, same in replays)} of {len(replays)}"
            print(f"{robot.name:12} {kind:8}  {dynamics:8}  {worst[0]:14.1e}  {worst[1]:15.1e}  {ended}")


def greedy_return(env: MujocoEnv, policy: Actor, seed: int) -> tuple[float, int]:
    """Compute return and length of one episode with the policy's noise-free actions."""
    observation, _ = env.reset(seed=seed)
    rewards: list[float] = []
    terminated = False
    while not terminated and len(rewards) < MAX_EPISODE_STEPS:
        observation, reward, terminated, _, _ = env.step(policy.mode(observation))
        rewards.append(float(reward))
    return sum(rewards), len(rewards)


def compare_returns(episodes: int) -> None:
    """Print mean and standard deviation of a fixed policy's returns over episodes with seeds 0, 1, 2, ..."""
    print("robot        dynamics  return  standard deviation  length")
    robots = [robot for robot in ROBOTS.values() if "medium" in robot.collected_qualities]
    for robot, dynamics in itertools.product(robots, get_args(Dynamics)):
        env = robot_environment(robot, dynamics)
        policy = load_policy(robot, "medium")
        assert isinstance(policy, SquashedGaussianPolicy)
        seeds = tqdm(range(episodes), desc=f"{robot.name}, {dynamics} dynamics", leave=False)
        returns, lengths = np.array([greedy_return(env, policy, seed) for seed in seeds]).T
        print(
            f"{robot.name:12} {dynamics:8}  {returns.mean():6.0f}  {returns.std(ddof=1):18.0f}  {lengths.mean():6.0f}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Print both comparisons."""
    args = Parser().parse(argv)
    compare_with_recordings({key: array for path in RECORDINGS for key, array in np.load(path).items()})
    if args.episodes:
        compare_returns(args.episodes)


if __name__ == "__main__":
    run_command(main)
