"""Data-parallel training with ``torchrun``: process group, collectives and error handling."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from trajectory_adacat.errors import InputError

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
RANK0_FIRST_TIMEOUT = timedelta(hours=6)  # rank 0 may collect or download a dataset

Result = TypeVar("Result")


class BroadcastInputError(InputError):
    """An `InputError` raised on every rank; rank 0 reports it with its status, the other ranks exit silently."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class World:
    """The processes of a data-parallel training. Each has a replica of the model and trains on a shard of every batch.

    All methods but `shard` and `device` are collectives: every rank must call them in the same order.

    Attributes:
        rank: rank of this process.
        size: number of processes.
        local_rank: rank of this process on its machine.
        local_size: number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_rank0(self) -> bool:
        """Whether this process prints, logs and saves."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return this rank's device: ``cuda`` becomes ``cuda:<local rank>`` if there are several processes.

        Raises:
            InputError: if ``name`` is a single GPU and this machine runs several processes.
        """
        if self.local_size > 1 and name.startswith("cuda:"):
            raise InputError(f"--device {name} is one GPU for {self.local_size} processes: pass --device cuda.")
        return f"cuda:{self.local_rank}" if self.size > 1 and name == "cuda" else name

    def shard(self, indices: Tensor) -> Tensor:
        """Return this rank's contiguous part of ``indices`` ``[B]``; lengths differ by at most one between ranks."""
        return indices.tensor_split(self.size)[self.rank]

    def all_reduce_sum_(self, tensors: list[Tensor]) -> None:
        """Replace each tensor in place by its sum over all ranks, in one all-reduce.

        The result is bit-identical on all ranks.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def all_gather(self, value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
        """Return the values of all ranks, ordered by rank.

        Args:
            value: this rank's value, which must be picklable.
            group: a process group of all ranks, for another timeout; None for the default group.
        """
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group)
        return values

    @contextmanager
    def raise_everywhere(self, group: dist.ProcessGroup | None = None) -> Iterator[None]:
        """Raise an `InputError` of any rank on all ranks.

        Args:
            group: see `all_gather`.

        Raises:
            BroadcastInputError: with the message of the lowest rank that failed.
        """
        error = None
        try:
            yield
        except InputError as caught:
            if self.size == 1:
                raise
            error = caught
        gathered = self.all_gather(None if error is None else (str(error), error.status), group)
        errors = [found for found in gathered if found is not None]
        if errors:
            raise BroadcastInputError(*errors[0]) from error

    def rank0_first(self, function: Callable[[], Result]) -> Result:
        """Call ``function`` on rank 0, then on the other ranks, which can read the files that rank 0 wrote.

        The other ranks wait up to `RANK0_FIRST_TIMEOUT`.

        Raises:
            BroadcastInputError: if any rank raises an `InputError`.
        """
        group = dist.new_group(timeout=RANK0_FIRST_TIMEOUT, backend="gloo") if self.size > 1 else None
        with self.raise_everywhere(group):
            results = [function()] if self.is_rank0 else []
        with self.raise_everywhere(group):
            return results[0] if results else function()


SINGLE_PROCESS = World()


@contextmanager
def process_group() -> Iterator[World]:
    """Initialize the default process group under ``torchrun``, and destroy it on exit; without it, a world of one.

    Suppress `BroadcastInputError` on all ranks but rank 0.
    """
    if not dist.is_torchelastic_launched():
        yield SINGLE_PROCESS
        return
    dist.init_process_group(timeout=COLLECTIVE_TIMEOUT)
    local = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    world = World(dist.get_rank(), dist.get_world_size(), *local)
    try:
        yield world
    except BroadcastInputError:
        if world.is_rank0:
            raise
    finally:
        dist.destroy_process_group()
