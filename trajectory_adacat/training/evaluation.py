"""Evaluation of a model: exact negative log-likelihoods, without loss weights and smoothing."""

from collections.abc import Iterator

import torch

from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import group_likelihoods
from trajectory_adacat.training.distributed import SINGLE_PROCESS, World

MAX_EVALUATION_WINDOWS = 512


def evaluation_batches(dataset: SequenceDataset, batch_size: int, world: World = SINGLE_PROCESS) -> Iterator[Batch]:
    """Yield this rank's shard of at most `MAX_EVALUATION_WINDOWS` windows, evenly spaced over the dataset."""
    n_windows = min(MAX_EVALUATION_WINDOWS, len(dataset))
    windows = torch.linspace(0, len(dataset) - 1, n_windows, device=dataset.tokens.device).long()
    for chunk in world.shard(windows).split(batch_size):
        if len(chunk):
            yield dataset.batch(chunk)


@torch.no_grad()
def negative_log_likelihoods(model: GPT, batches: list[Batch], world: World = SINGLE_PROCESS) -> dict[str, float]:
    """Return the mean negative log-likelihood of each group of dimensions, and of all as ``all``.

    In nats per dimension, of values scaled to [0, 1]. The mean is over the batches of all ranks.
    """
    model.eval()
    groups = list(model.spec.groups)
    sums = torch.zeros(len(groups), 2, dtype=torch.float64, device=model.device)  # columns: sum and count of losses
    for batch in batches:
        distribution = model(batch.tokens[:, :-1])
        by_group = group_likelihoods(distribution, batch.tokens, batch.mask, model.spec)
        sums += torch.stack([torch.stack([part.double() for part in by_group[group]]) for group in groups])
    world.all_reduce_sum_([sums])
    totals, counts = sums.cpu().unbind(1)
    means = {group: float(total / count) for group, total, count in zip(groups, totals, counts, strict=True)}
    return {**means, "all": float(totals.sum() / counts.sum())}
