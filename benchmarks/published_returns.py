"""Roll published agents out on the v2 dynamics and on Gymnasium's ``-v4``, beside the returns that their authors gave.

    python -m benchmarks.published_returns hopper-tqc.zip walker2d-sac.zip

takes agents of rl-baselines3-zoo (https://github.com/DLR-RM/rl-trained-agents), as the zip files there or as npz. Each
is recognized by its weights, whatever the file is called. The returns were published for gym's ``-v3`` robots, whose
dynamics are those of ``-v2``, on MuJoCo 2.1 or older. Every episode is a line of ``returns.jsonl`` in the folder
``--out``; a command that is repeated runs those that are missing, then prints the table.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from tap import Positional
from tqdm import tqdm

from benchmarks.dynamics import greedy_return, robot_environment
from trajectory_adacat.checks import check_can_create, check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets.policies import Actor
from trajectory_adacat.datasets.policy_files import fingerprint, policy_sizes, read_policy
from trajectory_adacat.environments import Dynamics, environment_info
from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import ROBOTS, Robot
from trajectory_adacat.training.lock import locked

RETURNS_FILE = "returns.jsonl"
DYNAMICS: tuple[Dynamics, ...] = get_args(Dynamics)


class Publication(NamedTuple):
    """An agent of rl-baselines3-zoo and the return of its mode that ``benchmark.md`` there gives.

    Args:
        agent: its public name.
        robot: id of the robot.
        mean: of the published returns.
        deviation: standard deviation over episodes.
    """

    agent: str
    robot: str
    mean: int
    deviation: int


# By the fingerprint of the actor's weights.
PUBLISHED = {
    "1483f2bd706ba53eec1d64e1a5701f7195d977ceaa9c32985c6df543f3c8375f": Publication(
        "sac Hopper-v3", "hopper", 2326, 1130
    ),
    "a1ea8233132e1a554b84ec1eedf9c9a943766cbe574eefd4bf44e08d72230a0f": Publication("tqc Hopper-v3", "hopper", 3754, 8),
    "7bb3bcb85f604904b3665d1613366fe1f6b2a07e14e1fa08113aa322ca8e0471": Publication(
        "sac HalfCheetah-v3", "halfcheetah", 9535, 100
    ),
    "b8c0f7b74b6a459f234decf44f677046a81c32a4d388ea521b45bbb602fb309f": Publication(
        "tqc HalfCheetah-v3", "halfcheetah", 12090, 127
    ),
    "8988b8a53435ef3d7f272708f3b0823e6df8bc001ac6a624935525f48040004e": Publication(
        "sac Walker2d-v3", "walker2d", 3863, 254
    ),
    "2470c0df82733e516ec566e9a2e0130f2949581cccf19104954b8a2fffeb8e4b": Publication(
        "tqc Walker2d-v3", "walker2d", 4381, 500
    ),
}


class Parser(CommandParser):
    """Roll agents out on v2 dynamics and on Gymnasium's -v4, beside the returns that their authors published."""

    files: Positional[list[Path]]  # agents: zip files of Stable-Baselines3, or npz
    robot: str | None = None  # robot of agents that are not among the published ones, such as hopper
    observation_statistics: Path | None = None  # npz with mean and var, for an agent trained with VecNormalize
    episodes: int = 100  # episodes of each agent in each environment, with the environment's seeds from 0
    out: Path = Path("published-returns")  # folder of the returns


@dataclass(frozen=True, eq=False)
class Agent:
    """An agent to roll out: its actor, what identifies it, and what was published of it."""

    name: str
    robot: Robot
    actor: Actor
    fingerprint: str
    publication: Publication | None


def read_agent(path: Path, robot: str | None, statistics: Path | None) -> Agent:
    """Read an agent and find its robot.

    Raises:
        InputError: if the file cannot be read, or its robot is unknown or has other sizes.
    """
    actor = read_policy(path, statistics).actor
    found = fingerprint(actor)
    publication = PUBLISHED.get(found)
    name = publication.robot if publication else robot
    if name not in ROBOTS:
        raise InputError(f"{path} is none of the published agents: pass --robot, one of {', '.join(ROBOTS)}.")
    known = ROBOTS[name]
    if policy_sizes(actor) != (known.observation_size, known.action_size):
        raise InputError(f"{path} has observations and actions of sizes {policy_sizes(actor)}, unlike {known.id}.")
    return Agent(publication.agent if publication else path.stem, known, actor, found, publication)


def read_returns(path: Path) -> list[dict[str, Any]]:
    """Read the episodes of a results file; a line that a killed process left incomplete is dropped from the file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def roll_out(agent: Agent, dynamics: Dynamics, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Run one episode of an agent's mode for each seed of the environment."""
    info = environment_info(agent.robot.native_id, dynamics)
    env = robot_environment(agent.robot, dynamics)
    for seed in tqdm(seeds, desc=f"{agent.name}, {info['environment']}", leave=False):
        total, length = greedy_return(env, agent.actor, seed)
        yield {"agent": agent.name, "fingerprint": agent.fingerprint, **info, "seed": seed} | {
            "return": round(total, 3),
            "length": length,
        }
    env.close()


def measure(agents: Sequence[Agent], episodes: int, path: Path) -> list[dict[str, Any]]:
    """Run the episodes that a results file lacks, appending each to it; return those of these agents.

    Episodes on other versions of MuJoCo or Gymnasium count as missing.
    """
    records = read_returns(path)
    kept = []
    with path.open("a", encoding="utf-8") as file:
        for agent in agents:
            for dynamics in DYNAMICS:
                info = environment_info(agent.robot.native_id, dynamics)
                same = {"fingerprint": agent.fingerprint, **info}
                found = {r["seed"]: r for r in records if all(r.get(key) == value for key, value in same.items())}
                for record in roll_out(agent, dynamics, [seed for seed in range(episodes) if seed not in found]):
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    found[record["seed"]] = record
                kept += [found[seed] for seed in range(episodes)]
    return kept


def table(agents: Sequence[Agent], records: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: mean and standard deviation over episodes, and their median, beside the published."""
    lines = ["| agent | published | v2 dynamics | median | `-v4` as shipped | median |", "|---|---|---|---|---|---|"]
    for agent in agents:
        cells = [agent.name, f"{agent.publication.mean} ± {agent.publication.deviation}" if agent.publication else ""]
        for dynamics in DYNAMICS:
            returns = np.array(
                [
                    record["return"]
                    for record in records
                    if record["fingerprint"] == agent.fingerprint and record["dynamics"] == dynamics
                ]
            )
            cells += [f"{returns.mean():.0f} ± {returns.std():.0f}", f"{np.median(returns):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the missing episodes and print the table."""
    args = Parser().parse(argv)
    check_positive(args, "episodes")
    check_can_create(args.out, "--out")
    agents = [read_agent(path, args.robot, args.observation_statistics) for path in args.files]
    with locked(args.out, "measurement", "--out"):
        records = measure(agents, args.episodes, args.out / RETURNS_FILE)
    print(table(agents, records))


if __name__ == "__main__":
    run_command(main)
