"""One rank of a data-parallel training; `test_distributed` covers communication."""

import itertools
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trajectory_adacat.checkpoint import find_checkpoint
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.distributed import World

from .conftest import MakeTrainer, resume


def test_only_rank_0_writes_files(make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each of two ranks alone, with collectives replaced by stubs."""
    monkeypatch.setattr(World, "all_reduce_sum_", lambda self, tensors: None)
    monkeypatch.setattr(World, "all_gather", lambda self, value: [value.clone() for _ in range(self.size)])
    monkeypatch.setattr(World, "raise_everywhere", lambda self: nullcontext())
    make_trainer(tmp_path / "second", world=World(1, 2), n_steps=2).train()
    assert not (tmp_path / "second").exists()
    make_trainer(tmp_path / "first", world=World(0, 2), n_steps=2).train()
    assert find_checkpoint(tmp_path / "first", 2).exists()


def first_numbers(random_state: Tensor) -> list[float]:
    generator = torch.Generator()
    generator.set_state(random_state)
    return torch.rand(8, generator=generator).tolist()


def test_each_rank_has_its_own_random_numbers(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    drawn = {}
    for seed, rank in itertools.product((0, 1), range(4)):
        make_trainer(tmp_path, seed=seed, world=World(rank, 4))
        drawn[seed, rank] = tuple(first_numbers(torch.get_rng_state()))
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[1, 0] == tuple(first_numbers(torch.Generator().manual_seed(1).get_state()))


def test_a_rank_without_a_saved_random_state_does_not_repeat_its_first_numbers(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    make_trainer(tmp_path, n_saves=4).train()
    make_trainer(tmp_path / "second", world=World(1, 2))
    drawn = [first_numbers(torch.get_rng_state())]
    for step in (2, 3):
        torch.manual_seed(99)
        resume(make_trainer(tmp_path / "second", world=World(1, 2)), tmp_path, step)
        drawn.append(first_numbers(torch.get_rng_state()))
        torch.rand(step)
        resume(make_trainer(tmp_path / "second", world=World(1, 2)), tmp_path, step)
        assert first_numbers(torch.get_rng_state()) == drawn[-1]
    assert len(set(map(tuple, drawn))) == 3


def test_a_batch_smaller_than_the_number_of_processes_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, world=World(0, 8))
    with pytest.raises(InputError, match=r"8 sequences.*9 processes"):
        make_trainer(tmp_path, world=World(0, 9))
