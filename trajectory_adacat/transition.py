"""How one transition is laid out as tokens: observation, action, reward, value."""

from dataclasses import dataclass

from trajectory_adacat.errors import InputError


@dataclass(frozen=True)
class TransitionSpec:
    """Sizes and slices of a transition's dimensions (paper section 4.4; Trajectory Transformer's order).

    A transition has ``dimension = observation_size + action_size + 2`` scalar tokens.

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
        """The number of tokens of one transition."""
        return self.observation_size + self.action_size + 2

    @property
    def observation(self) -> slice:
        """Where the observation stands in a transition."""
        return slice(0, self.observation_size)

    @property
    def action(self) -> slice:
        """Where the action stands in a transition."""
        return slice(self.observation_size, self.observation_size + self.action_size)

    @property
    def reward(self) -> int:
        """The index of the reward."""
        return self.dimension - 2

    @property
    def value(self) -> int:
        """The index of the value, the discounted sum of the rewards after this transition."""
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
