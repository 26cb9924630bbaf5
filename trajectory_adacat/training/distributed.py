"""One training in several processes: what ``torchrun`` starts, and how they share a step."""

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

USUAL_WAIT = timedelta(minutes=10)  # for a process that is late with its part of a step; then the training fails
LONGEST_WAIT = timedelta(hours=6)  # while the first one collects or fetches a dataset

Result = TypeVar("Result")


class SharedError(InputError):
    """Bad input that all processes know of: the first one tells it, the others end in silence."""


@dataclass(frozen=True)
class World:
    """The processes that train one model, each with its own copy and a part of every batch.

    All methods but `share` and `device` must be called by all processes, in the same order.

    Attributes:
        rank: this process's number.
        size: how many there are.
        local_rank: this process's number on its machine.
        local_size: how many there are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints, logs and saves."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device of this process where the user named ``cuda``: each process of a machine has its own.

        Raises:
            InputError: if a single GPU is named for several processes of this machine.
        """
        if self.local_size > 1 and name.startswith("cuda:"):
            raise InputError(f"--device {name} is one GPU for {self.local_size} processes: pass --device cuda.")
        return f"cuda:{self.local_rank}" if self.size > 1 and name == "cuda" else name

    def share(self, windows: Tensor) -> Tensor:
        """This process's part of a batch's windows ``[B]``; parts differ by at most one in length."""
        return windows.tensor_split(self.size)[self.rank]

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, with one message for all; the same bits in each."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather(self, value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
        """The values of all processes, by rank; by a group of all of them with a wait of its own."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group)
        return values

    @contextmanager
    def together(self, group: dist.ProcessGroup | None = None) -> Iterator[None]:
        """Where one process finds bad input, all of them raise it; ``group`` as in `gather`.

        Raises:
            SharedError: with the message of the first process that found bad input.
        """
        error = None
        try:
            yield
        except InputError as found:
            error = found
        found_by_each = self.gather(None if error is None else str(error), group)
        messages = [message for message in found_by_each if message is not None]
        if messages:
            raise SharedError(messages[0]) from error

    def first_alone(self, make: Callable[[], Result]) -> Result:
        """``make()`` in the first process, and then in the others, which find what it left on the disk.

        They wait for `LONGEST_WAIT`, not for `USUAL_WAIT`.

        Raises:
            SharedError: if one of them finds bad input.
        """
        patient = dist.new_group(timeout=LONGEST_WAIT, backend="gloo") if self.size > 1 else None
        with self.together(patient):
            made = [make()] if self.is_first else []
        with self.together(patient):
            return made[0] if made else make()


@contextmanager
def joined_processes() -> Iterator[World]:
    """The processes that ``torchrun`` started, or this one alone; of bad input that all know, only the first tells."""
    if not dist.is_torchelastic_launched():
        yield World()
        return
    dist.init_process_group(timeout=USUAL_WAIT)
    local = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    world = World(dist.get_rank(), dist.get_world_size(), *local)
    try:
        yield world
    except SharedError:
        if world.is_first:
            raise
    finally:
        dist.destroy_process_group()
