"""Episodes in several processes: the results of one process, and no process left behind on errors."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from trajectory_adacat.checkpoint import save_checkpoint
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.rollout import EpisodeResult, Rollouts
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig

CONFIG = PlannerConfig(BeamSearchConfig(0.99, horizon=2, beam_width=2), WindowConfig("cropped", 2))
SEEDS = range(4, 7)


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    """Return short Hopper rollouts with a tiny random model."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 3, n_transitions=2, n_layer=1, n_head=1, n_embd=4, head=AdaCatConfig(n_bins=4)))
    normalizer = MinMaxNormalizer(torch.full((16,), -1.0), torch.full((16,), 1.0))
    description = {"discount": 0.99, "dataset": {"name": "hopper-medium-v2"}, "step": 1}
    save_checkpoint(tmp_path / "step_00000001", model, model, normalizer, {"rng": torch.get_rng_state()}, description)
    make_planner = partial(Planner.from_checkpoint, tmp_path, CONFIG)
    return Rollouts(make_planner, partial(make_environment, "hopper-medium-v2"), max_length=8)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers be forks of this process, which start at once; a spawned one imports torch for seconds."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)


def ignore(results: Sequence[EpisodeResult]) -> None:
    """Do nothing after a step."""


def outcomes(results: Sequence[EpisodeResult]) -> list[tuple[int, float, int, bool]]:
    return [(result.seed, result.return_, result.length, result.terminated) for result in results]


def test_one_process_and_two_give_the_same_results(rollouts: Rollouts) -> None:
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


def test_an_input_error_of_a_worker_is_raised(rollouts: Rollouts, forked: None, tmp_path: Path) -> None:
    missing = replace(rollouts, make_planner=partial(Planner.from_checkpoint, tmp_path / "nowhere", CONFIG))
    with pytest.raises(InputError, match="nowhere"):
        run_in_processes(missing, SEEDS, 2, ignore)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_reported_with_its_exit_code(rollouts: Rollouts, forked: None) -> None:
    with pytest.raises(InputError, match=r"exit code 3.*--processes"):
        run_in_processes(replace(rollouts, make_planner=partial(os._exit, 3)), SEEDS, 2, ignore)
    assert not multiprocessing.active_children()


def test_an_interruption_ends_all_workers(rollouts: Rollouts, forked: None) -> None:
    def interrupt(results: Sequence[EpisodeResult]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(replace(rollouts, max_length=10**6), SEEDS, 2, interrupt)
    assert not multiprocessing.active_children()


class TwoPartsError(Exception):
    """Can be pickled but not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_two_parts() -> Planner:
    raise TwoPartsError("one", "another")


def raise_unpicklable() -> Planner:
    raise ValueError(lambda: "of an unusual kind")


@pytest.mark.parametrize(
    ("make_planner", "named"),
    [
        (raise_two_parts, r"in raise_two_parts\n(.*\n)*.*one and another"),
        (raise_unpicklable, r"ValueError: <function"),
    ],
)
def test_any_other_error_of_a_worker_is_raised_with_its_traceback(
    rollouts: Rollouts, forked: None, make_planner: Callable[[], Planner], named: str
) -> None:
    with pytest.raises(RuntimeError, match=named):
        run_in_processes(replace(rollouts, make_planner=make_planner), SEEDS, 2, ignore)


def ignore_sigterm(planner: Callable[[], Planner]) -> Planner:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return planner()


def test_workers_that_ignore_sigterm_are_killed(rollouts: Rollouts, forked: None) -> None:
    stubborn = replace(rollouts, make_planner=partial(ignore_sigterm, rollouts.make_planner), max_length=10**6)

    def fail(results: Sequence[EpisodeResult]) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run_in_processes(stubborn, SEEDS, 2, fail)
    assert not multiprocessing.active_children()


SLOW = """
import multiprocessing, os, pathlib, time

def wait():
    pathlib.Path(f"waiting_{os.getpid()}").touch()
    time.sleep(60)

if multiprocessing.current_process().name != "MainProcess" and pathlib.Path("slow_import").exists():
    wait()
"""
COMMAND = """
import signal
import slow
from trajectory_adacat.command_line import run_command
from trajectory_adacat.evaluation.processes import run_in_processes
from trajectory_adacat.evaluation.rollout import Rollouts

def main(argv):
    run_in_processes(Rollouts(slow.wait, slow.wait), range(2), 2, print)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if tests run in the background
    run_command(main)
"""


@contextmanager
def slow_command(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command of two workers, each of which waits for a minute when this yields."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "command.py").write_text(COMMAND)
    with subprocess.Popen(
        [sys.executable, "command.py"], cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        while len(list(folder.glob("waiting_*"))) < 2 and command.poll() is None:
            time.sleep(0.05)
        yield command


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX process groups")
@pytest.mark.parametrize("imports", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_interruption_of_the_process_group_is_silent(tmp_path: Path, imports: bool) -> None:
    if imports:  # the workers still import modules
        (tmp_path / "slow_import").touch()
    with slow_command(tmp_path) as command:
        os.killpg(command.pid, signal.SIGINT)
        _, printed = command.communicate(timeout=30)  # returns when the workers, which share stderr, have ended too
    assert printed == "interrupted\n"
    assert command.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("sent", [pytest.param("SIGTERM", marks=pytest.mark.slow), "SIGKILL"])
def test_workers_end_with_their_parent(tmp_path: Path, sent: str) -> None:
    with slow_command(tmp_path) as command:
        command.send_signal(signal.Signals[sent])
        command.communicate(timeout=30)
    assert command.returncode == -signal.Signals[sent]


class Watched(gymnasium.Wrapper):
    """Leave a file behind on closing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(make_environment("hopper-medium-v2"))
        self._folder = folder

    def close(self) -> None:
        super().close()
        (self._folder / f"closed_{id(self)}").touch()


@pytest.mark.parametrize("fails", [False, True])
def test_environments_are_closed(rollouts: Rollouts, tmp_path: Path, fails: bool) -> None:
    def watch(results: Sequence[EpisodeResult]) -> None:
        if fails:
            raise KeyError

    watched = replace(rollouts, make_environment=partial(Watched, tmp_path))
    try:
        run_in_processes(watched, SEEDS, 1, watch)
    except KeyError:
        assert fails
    assert len(list(tmp_path.glob("closed_*"))) == len(SEEDS)


def test_an_environment_of_other_sizes_is_refused(rollouts: Rollouts, forked: None) -> None:
    other = replace(rollouts, make_environment=partial(make_environment, "walker2d-medium-v2"))
    with pytest.raises(InputError, match=r"11 dimensions.*--environment"):
        run_in_processes(other, SEEDS, 2, ignore)


@pytest.mark.parametrize("plan_freq", [1, 2])
def test_a_profile_holds_one_plan(rollouts: Rollouts, tmp_path: Path, plan_freq: int) -> None:
    config = replace(CONFIG, plan_freq=plan_freq)
    make_planner = partial(Planner.from_checkpoint, tmp_path, config)
    profiled = replace(rollouts, make_planner=make_planner, profile=tmp_path / "profile", profiled_step=2 * plan_freq)
    run_in_processes(profiled, SEEDS, 1, ignore)
    table = (tmp_path / "profile" / "profile.txt").read_text()
    assert f"1 step after {2 * plan_freq}" in table
    assert "aten::addmm" in table


class Faulty(gymnasium.Wrapper):
    """Return NaN in place of the third observation of one seed, and fail to close."""

    def __init__(self, seed: int) -> None:
        super().__init__(make_environment("hopper-medium-v2"))
        self._faulty_seed = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        self._faulty, self._steps = seed == self._faulty_seed, 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        observation, *others = super().step(action)
        self._steps += 1
        return (observation * (np.nan if self._faulty and self._steps == 3 else 1), *others)

    def close(self) -> None:
        super().close()
        raise OSError("the simulator is gone")


@pytest.mark.parametrize("n_processes", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:An environment could not be closed")
def test_a_fault_ends_its_rollout_alone_in_any_process(rollouts: Rollouts, n_processes: int) -> None:
    sound, _ = run_in_processes(rollouts, SEEDS, 1, ignore)
    results, _ = run_in_processes(replace(rollouts, make_environment=partial(Faulty, 5)), SEEDS, n_processes, ignore)
    assert [result.error is None for result in results] == [True, False, True]
    assert "not finite" in str(results[1].error)
    assert results[1].length == 3
    assert outcomes([results[0], results[2]]) == outcomes([sound[0], sound[2]])


def test_an_environment_that_cannot_be_closed_is_warned_of(rollouts: Rollouts) -> None:
    with pytest.warns(UserWarning, match="could not be closed: OSError: the simulator is gone"):
        run_in_processes(replace(rollouts, make_environment=partial(Faulty, -1)), SEEDS, 1, ignore)
