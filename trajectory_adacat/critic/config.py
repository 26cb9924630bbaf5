"""The settings of a critic and of its training."""

from dataclasses import dataclass, field

from trajectory_adacat.datasets.sequences import EpisodeConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.config import check_positive


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The form of the networks for Q and V.

    Raises:
        InputError: for a value out of range.
    """

    hidden_size: int = 256  # width of the hidden layers
    n_hidden: int = 2  # number of hidden layers
    n_critics: int = 2  # number of Q networks; V learns from the smallest of their target values
    layer_norm: bool = True  # normalize each hidden layer before its ReLU

    def __post_init__(self) -> None:
        check_positive(self, ("hidden_size", "n_hidden"))
        if self.n_critics < 2:
            raise InputError(f"n_critics must be at least 2, got {self.n_critics}.")


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """All settings that define the method of a critic's training.

    The defaults for rates, sizes and batches are those of IQL for locomotion (Kostrikov et al. 2021, arXiv:2110.06169);
    its expectile is 0.7. Layer normalization, the start on returns and the decay of the critic's rate are not in it.

    Raises:
        InputError: for a value out of range.
    """

    data: EpisodeConfig = field(default_factory=EpisodeConfig)
    networks: NetworkConfig = field(default_factory=NetworkConfig)
    expectile: float = 0.9  # 0.5: the value of the data's policy; near 1: of its best actions
    learning_rate: float = 3e-4  # Adam's rate at the start; it decays to 0 along a cosine
    batch_size: int = 256  # transitions per step
    n_steps: int = 40_000  # number of steps
    mc_steps: int = 5_000  # first steps, in which V learns the data's discounted returns
    target_rate: float = 0.005  # share of the new weights in the target Q networks' average, each step

    def __post_init__(self) -> None:
        check_positive(self, ("learning_rate", "batch_size", "n_steps"))
        if not 0.0 < self.expectile < 1.0:
            raise InputError(f"expectile must lie between 0 and 1, got {self.expectile}.")
        if self.mc_steps < 0:
            raise InputError(f"mc_steps must not be negative, got {self.mc_steps}.")
        if not 0.0 < self.target_rate <= 1.0:
            raise InputError(f"target_rate must lie in (0, 1], got {self.target_rate}.")


@dataclass(frozen=True, kw_only=True)
class CriticForm:
    """All that determines the shapes of a critic's weights.

    Raises:
        InputError: for a size that is not positive.
    """

    observation_size: int  # size of an observation
    action_size: int  # size of an action
    networks: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        check_positive(self, ("observation_size", "action_size"))
