"""Episodes shared among processes: the same ones as in one process, and what happens when a process fails."""

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import save_checkpoint
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.processes import Rollouts, run_in_processes
from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.planning.beam_search import BeamSearchConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig

CONFIG = PlannerConfig(BeamSearchConfig(0.99, horizon=2, beam_width=2), WindowConfig("cropped", 2))
SEEDS = range(4, 7)


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    """Hopper, cut after a few steps, under a tiny random model."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 3, n_transitions=2, n_layer=1, n_head=1, n_embd=4, n_bins=4))
    normalizer = MinMaxNormalizer(torch.full((16,), -1.0), torch.full((16,), 1.0))
    description = {"discount": 0.99, "dataset": {"name": "hopper-medium-v2"}, "step": 1}
    save_checkpoint(tmp_path / "step_00000001", model, model, normalizer, {"rng": torch.get_rng_state()}, description)
    make_planner = partial(Planner.from_checkpoint, tmp_path, CONFIG)
    return Rollouts(make_planner, partial(make_environment, "hopper-medium-v2"), max_length=8)


def ignore(results: Sequence[EpisodeResult]) -> None:
    """What some tests watch with."""


def outcomes(results: Sequence[EpisodeResult]) -> list[tuple[int, float, int, bool]]:
    return [(result.seed, result.return_, result.length, result.terminated) for result in results]


def test_episodes_are_the_same_in_one_process_and_in_two(rollouts: Rollouts) -> None:
    alone, n_clamped = run_in_processes(rollouts, SEEDS, 1, ignore)
    seen: list[list[int]] = []
    shared, n_clamped_shared = run_in_processes(
        rollouts, SEEDS, 2, lambda results: seen.append([result.length for result in results])
    )
    assert outcomes(shared) == outcomes(alone)
    assert [result.seed for result in shared] == list(SEEDS)
    assert n_clamped_shared == n_clamped > 0
    assert all(result.seconds_per_action > 0 for result in shared)
    for lengths in zip(*seen, strict=True):
        assert sorted(lengths) == list(lengths)
    assert seen[-1] == [result.length for result in shared]
    assert not multiprocessing.active_children()


def test_what_is_wrong_in_a_process_is_raised_here(rollouts: Rollouts, tmp_path: Path) -> None:
    missing = replace(rollouts, make_planner=partial(Planner.from_checkpoint, tmp_path / "nowhere", CONFIG))
    with pytest.raises(InputError, match="nowhere"):
        run_in_processes(missing, SEEDS, 2, ignore)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_not_waited_for(rollouts: Rollouts) -> None:
    with pytest.raises(InputError, match=r"exit code 3.*--processes"):
        run_in_processes(replace(rollouts, make_planner=partial(os._exit, 3)), SEEDS, 2, ignore)
    assert not multiprocessing.active_children()


def test_an_interruption_ends_all_processes(rollouts: Rollouts) -> None:
    def interrupt(results: Sequence[EpisodeResult]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(replace(rollouts, max_length=10**6), SEEDS, 2, interrupt)
    assert not multiprocessing.active_children()
