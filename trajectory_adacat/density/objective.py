"""What a density experiment is to the trainer: a dataset, a network and a head."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

Split = Literal["validation", "test"]


class DensityObjective(ABC):
    """A model and its data.

    Attributes:
        unit: the unit of `negative_log_likelihood`, such as "nats per row".
        model: the network with its head, on its device.
        n_examples: number of training examples.
    """

    unit: ClassVar[str]
    model: nn.Module
    n_examples: int

    @abstractmethod
    def loss(self, indices: Tensor, progress: float) -> Tensor:
        """Return the training loss of a batch, a scalar with a gradient.

        Random numbers must come from torch's default generator of the CPU, whose state the checkpoints hold.

        Args:
            indices: of the training examples, int64 ``[B]`` on the CPU.
            progress: share of the steps that are done, in [0, 1); for the smoothing schedule.
        """

    @abstractmethod
    def negative_log_likelihood(self, model: nn.Module, split: Split) -> float:
        """Return the exact, unsmoothed mean over a split in `unit`, of a copy of `model` with other weights.

        The trainer calls it without gradients, with the copy in evaluation mode.
        """
