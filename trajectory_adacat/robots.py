"""The robots and the datasets that the package knows by name: one record per robot.

To add a robot, add its record to :data:`ROBOTS`. Environments, datasets and scores read everything from here.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

D4RL_QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
MAX_EPISODE_STEPS = 1000  # D4RL's time limit, the same for all robots
RANDOM = "random"  # the quality whose behaviour policy draws actions uniformly
COLLECTED = "-collected"  # ends the names of collected datasets
OWN_QUALITY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Source = Literal["v2", "collected"]


class NamedDataset(NamedTuple):
    """A dataset known by name.

    Args:
        robot: which robot moves.
        quality: of the behaviour policy, such as ``medium-replay``, or any words of the user's.
        source: ``v2`` for D4RL's official file, ``collected`` for one that this package collects.
    """

    robot: "Robot"
    quality: str
    source: Source

    @property
    def name(self) -> str:
        """The full name, such as ``hopper-medium-replay-v2``."""
        return f"{self.robot.id}-{self.quality}-{self.source}"

    @property
    def is_own(self) -> bool:
        """Whether the dataset is collected with a policy of the user's, not with one of the package."""
        return self.source == "collected" and self.quality not in self.robot.collected_qualities


@dataclass(frozen=True)
class Robot:
    """All that the package knows about one robot.

    Args:
        name: as in Gymnasium's ids, such as ``HalfCheetah``.
        observation_size: length of the environment's observation.
        action_size: length of an action.
        reference_returns: undiscounted returns of D4RL's random policy (score 0) and expert (score 100), or None.
        entry_point: class of the environment with v2 dynamics, as ``module:class``. It holds the corrections that this
            robot needs.
        d4rl_qualities: qualities of its official D4RL datasets.
        collected_qualities: qualities of the datasets that this package collects. ``random`` draws actions uniformly;
            any other needs the policy file ``datasets/behavior/<id>-<quality>.npz``.
        d4rl_observation_size: length of the observations in D4RL's files where it exceeds ``observation_size``. The
            leading ``observation_size`` numbers are kept.
    """

    name: str
    observation_size: int
    action_size: int
    reference_returns: tuple[float, float] | None
    entry_point: str
    d4rl_qualities: tuple[str, ...] = D4RL_QUALITIES
    collected_qualities: tuple[str, ...] = ()
    d4rl_observation_size: int | None = None

    @property
    def id(self) -> str:
        """The name as datasets use it, such as ``halfcheetah``."""
        return self.name.lower()

    @property
    def native_id(self) -> str:
        """Gymnasium's own environment, such as ``HalfCheetah-v4``."""
        return f"{self.name}-v4"

    @property
    def corrected_id(self) -> str:
        """The environment with v2 dynamics, such as ``trajectory_adacat/HalfCheetah-v2``."""
        return f"trajectory_adacat/{self.name}-v2"

    @property
    def official_datasets(self) -> list[NamedDataset]:
        """The official D4RL datasets of this robot."""
        return [NamedDataset(self, quality, "v2") for quality in self.d4rl_qualities]

    @property
    def collected_datasets(self) -> list[NamedDataset]:
        """The datasets of this robot that the package collects."""
        return [NamedDataset(self, quality, "collected") for quality in self.collected_qualities]


# Sizes are those of Gymnasium's -v4 environments; reference returns are from D4RL's infos.py.
ROBOTS = {
    robot.id: robot
    for robot in (
        Robot(
            name="HalfCheetah",
            observation_size=17,
            action_size=6,
            reference_returns=(-280.178953, 12135.0),
            entry_point="trajectory_adacat.dynamics:HalfCheetahV2",
            collected_qualities=("medium", RANDOM),
        ),
        Robot(
            name="Hopper",
            observation_size=11,
            action_size=3,
            reference_returns=(-20.272305, 3234.3),
            entry_point="trajectory_adacat.dynamics:HopperV2",
            collected_qualities=("medium", RANDOM),
        ),
        Robot(
            name="Walker2d",
            observation_size=17,
            action_size=6,
            reference_returns=(1.629008, 4592.3),
            entry_point="trajectory_adacat.dynamics:Walker2dV2",
            collected_qualities=("medium", RANDOM),
        ),
        Robot(
            name="Ant",
            observation_size=27,
            action_size=8,
            reference_returns=(-325.6, 3879.7),
            entry_point="trajectory_adacat.dynamics:AntV2",
            d4rl_observation_size=111,  # the last 84, contact forces, are zero
        ),
    )
}


def official_datasets() -> dict[str, NamedDataset]:
    """Return the official D4RL datasets of all robots, by name."""
    return {dataset.name: dataset for robot in ROBOTS.values() for dataset in robot.official_datasets}


def collected_datasets() -> dict[str, NamedDataset]:
    """Return the datasets that this package collects, by name."""
    return {dataset.name: dataset for robot in ROBOTS.values() for dataset in robot.collected_datasets}


def named_datasets() -> dict[str, NamedDataset]:
    """Return all official datasets and those that the package collects, by name."""
    return official_datasets() | collected_datasets()


def find_dataset(name: str) -> NamedDataset | None:
    """Return the dataset of a name, or None for a name that says nothing about the data.

    Besides :func:`named_datasets` these are ``<robot>-<words>-collected``: datasets collected with the user's policies,
    such as ``hopper-medium-expert-collected``.
    """
    robot, _, quality = name.removesuffix(COLLECTED).partition("-")
    if name.endswith(COLLECTED) and robot in ROBOTS and OWN_QUALITY.fullmatch(quality):
        return NamedDataset(ROBOTS[robot], quality, "collected")
    return official_datasets().get(name)
