"""How likely data are under a model, exactly, without weights and smoothing."""

from collections.abc import Iterator

import torch

from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import group_likelihoods
from trajectory_adacat.training.distributed import World

N_EVALUATION_WINDOWS = 512


def evaluation_batches(dataset: SequenceDataset, batch_size: int, world: World | None = None) -> Iterator[Batch]:
    """At most `N_EVALUATION_WINDOWS` windows, evenly spaced over the dataset; in a world, this process's share."""
    n_windows = min(N_EVALUATION_WINDOWS, len(dataset))
    windows = torch.linspace(0, len(dataset) - 1, n_windows, device=dataset.tokens.device).long()
    for chunk in (world or World()).share(windows).split(batch_size):
        if len(chunk):
            yield dataset.batch(chunk)


@torch.no_grad()
def likelihoods(model: GPT, batches: list[Batch], world: World | None = None) -> dict[str, float]:
    """The exact negative log-likelihood of each group and of all dimensions, in nats per dimension of [0, 1].

    In a world it is that of all processes' batches.
    """
    model.eval()
    groups = list(model.spec.groups)
    sums = torch.zeros(len(groups), 2, dtype=torch.float64, device=model.device)  # of the losses, and their count
    for batch in batches:
        distribution = model(batch.tokens[:, :-1])
        found = group_likelihoods(distribution, batch.tokens, batch.mask, model.spec)
        sums += torch.stack([torch.stack([part.double() for part in found[group]]) for group in groups])
    (world or World()).add_up([sums])
    totals, counts = sums.cpu().unbind(1)
    means = {group: float(total / count) for group, total, count in zip(groups, totals, counts, strict=True)}
    return {**means, "all": float(totals.sum() / counts.sum())}
