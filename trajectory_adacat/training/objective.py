"""The training loss of a batch, with mixed precision and compilation."""

from typing import Literal

import torch
from torch import Tensor

from trajectory_adacat.datasets.sequences import Batch
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig, sequence_loss

TrainingPrecision = Literal["float32", "bfloat16"]


class Objective:
    """Compute the training loss of a batch.

    The model itself does not change: its parameters, their names and its evaluation do not depend on precision and
    compilation.

    Args:
        model: model to train.
        loss: settings of the loss.
        precision: dtype of the blocks' matrix products, forward and backward. Weights, gradients, embeddings, layer
            norms, residual sums, heads and loss keep the dtype of the weights; on a CPU, attention does too.
        compiled: compile embedding, positions, blocks and last layer norm with ``torch.compile``; heads and loss are
            not compiled.
    """

    def __init__(self, model: GPT, loss: LossConfig, precision: TrainingPrecision, compiled: bool) -> None:
        self._model, self._loss, self._precision = model, loss, precision
        self._hidden = torch.compile(self._autocast_hidden) if compiled else self._autocast_hidden

    def __call__(self, batch: Batch) -> Tensor:
        """Return the mean loss over the targets of the batch, a scalar."""
        head = self._model.head
        losses = head.loss(head.distribution(self._hidden(batch.tokens[:, :-1])), batch.tokens[:, 1:])
        return sequence_loss(losses, batch.mask, self._model.spec, self._loss)

    def _autocast_hidden(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            return self._model.hidden(tokens)
