"""Which rows of a search descend from the same earlier one, so that what they share is computed once."""

from typing import NamedTuple

import torch
from torch import Tensor


class Generation(NamedTuple):
    """The distinct ancestors A of the rows at one step; environments with fewer of them repeat one.

    Attributes:
        rows: a row that descends from each, int64 ``[G, A]``.
        parents: which of the previous generation's ancestors each comes from, int64 ``[G, A]``.
    """

    rows: Tensor
    parents: Tensor


class Ancestry:
    """The parents that were chosen at each step of a search."""

    def __init__(self) -> None:
        self._parents: list[Tensor] = []

    def select(self, parents: Tensor) -> None:
        """Records the row before this step that each row comes from, int64 ``[G, R]``."""
        self._parents.append(parents)

    def generations(self, n: int) -> list[Generation]:
        """The last n steps, the oldest first; in the last one each row stands for itself."""
        ancestors = torch.arange(self._parents[-1].shape[1], device=self._parents[-1].device)
        ancestors = ancestors.expand_as(self._parents[-1])  # of each row, at the step that is looked at
        numbers = []
        for step in range(1, n + 1):
            numbers.append(_number(ancestors))
            if step < n:
                ancestors = self._parents[-step].gather(1, ancestors)
        numbers.reverse()
        rows = [_representatives(number) for number in numbers]
        before = [torch.zeros_like(numbers[0]), *numbers]
        return [Generation(r, number.gather(1, r)) for r, number in zip(rows, before, strict=False)]


def _number(ids: Tensor) -> Tensor:
    """Numbers the distinct ids of each environment from 0 on, ``[G, R]``."""
    ordered, order = ids.sort(-1)
    is_new = torch.zeros_like(ordered)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(ids).scatter(1, order, is_new.cumsum(-1))


def _representatives(numbers: Tensor) -> Tensor:
    """The first row of each number, ``[G, A]``; 0 where an environment has fewer of them."""
    rows = torch.arange(numbers.shape[1], device=numbers.device).expand_as(numbers)
    none = rows.new_zeros(len(numbers), int(numbers.max()) + 1)
    return none.scatter_reduce(1, numbers, rows, "amin", include_self=False)
