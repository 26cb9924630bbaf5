"""The layout of tokens: that of one transition (observation, action, reward, value), and that of a plain series."""

from dataclasses import dataclass
from typing import Protocol

from trajectory_adacat.errors import InputError


class Layout(Protocol):
    """The kinds of tokens, which repeat in the same order."""

    @property
    def dimension(self) -> int:
        """The number of kinds."""

    @property
    def value(self) -> int:
        """The index of the kind that no later token may attend to."""


@dataclass(frozen=True)
class SeriesSpec:
    """The layout of a series of scalars of one kind, such as pixels: each may attend to all before it."""

    dimension: int = 1
    value: int = 1  # an index that does not occur


@dataclass(frozen=True)
class TransitionSpec:
    """Sizes and slices of a transition's dimensions (paper section 4.4; Trajectory Transformer's order).

    Each of the ``dimension = observation_size + action_size + 2`` scalars becomes one token.

    Raises:
        InputError: if a size is not positive.
    """

    observation_size: int
    action_size: int

    def __post_init__(self) -> None:
        for name in ("observation_size", "action_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def dimension(self) -> int:
        """The number of tokens per transition."""
        return self.observation_size + self.action_size + 2

    @property
    def observation(self) -> slice:
        """The indices of the observation."""
        return slice(0, self.observation_size)

    @property
    def action(self) -> slice:
        """The indices of the action."""
        return slice(self.observation_size, self.observation_size + self.action_size)

    @property
    def reward(self) -> int:
        """The index of the reward."""
        return self.dimension - 2

    @property
    def value(self) -> int:
        """The index of the value: the discounted sum of all later rewards."""
        return self.dimension - 1

    @property
    def groups(self) -> dict[str, slice]:
        """The named groups of dimensions, in order, as slices."""
        return {
            "observation": self.observation,
            "action": self.action,
            "reward": slice(self.reward, self.reward + 1),
            "value": slice(self.value, self.value + 1),
        }
