"""What a training step minimizes, computed in the precision and by the code that the user chose."""

from typing import Literal

import torch
from torch import Tensor

from trajectory_adacat.datasets.sequences import Batch
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig, sequence_loss

TrainingPrecision = Literal["float32", "bfloat16"]


class Objective:
    """The loss of a batch.

    The model itself is left as it is: its weights, their names and its evaluation know nothing of precision and
    compilation.

    Args:
        model: to be trained.
        loss: its loss.
        precision: of the matrix products of the blocks, forward and backward. Weights, gradients, embeddings, norms,
            the sum along the residual path, heads and loss keep the weights' precision, and on a CPU attention too.
        compiled: whether the model without its heads (embedding, positions, blocks and last norm) is compiled by
            ``torch.compile``; heads and loss are not.
    """

    def __init__(self, model: GPT, loss: LossConfig, precision: TrainingPrecision, compiled: bool) -> None:
        self._model, self._loss, self._precision = model, loss, precision
        self._hidden = torch.compile(self._autocast) if compiled else self._autocast

    def __call__(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar."""
        head = self._model.head
        losses = head.loss(head.distribution(self._hidden(batch.tokens[:, :-1])), batch.tokens[:, 1:])
        return sequence_loss(losses, batch.mask, self._model.spec, self._loss)

    def _autocast(self, tokens: Tensor) -> Tensor:
        is_reduced = self._precision == "bfloat16"
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=is_reduced):
            return self._model.hidden(tokens)
