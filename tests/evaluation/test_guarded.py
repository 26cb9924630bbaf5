"""An environment that hangs, raises or dies in a process of its own ends its rollout alone, with a record."""

import multiprocessing
import time
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.evaluation.faulty import Line, refuse
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation import guarded
from trajectory_adacat.evaluation.guarded import GuardedEnvironment
from trajectory_adacat.evaluation.rollout import run_episodes


class Constant:
    """Plans the same action always."""

    spec: Any = None

    def reset(self, seeds: Any) -> None: ...

    def act(self, observations: np.ndarray, environments: Any) -> np.ndarray:
        return np.full((len(observations), 1), 0.5)

    def observe(self, rewards: Any, environments: Any) -> None: ...


FAULTS = {"hang": "no answer within 2 seconds", "raise": "the line is cut", "die": "exit code 7", "nan": "not finite"}


def test_faults_end_their_rollouts_alone() -> None:
    environments = [GuardedEnvironment(partial(Line, fault), 2.0) for fault in ["", *FAULTS]]
    try:
        results = run_episodes(Constant(), environments, range(5), 6)  # type: ignore[arg-type]
    finally:
        for environment in environments:
            environment.close()
    assert (results[0].error, results[0].length, results[0].return_, results[0].truncated) == (None, 6, 6.0, True)
    for result, message in zip(results[1:], FAULTS.values(), strict=True):
        assert message in str(result.error)
        assert result.length == 3
    assert not any(environment._process.is_alive() for environment in environments)


def test_an_environment_at_work_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption that comes during a step does not wait for it."""
    environment = GuardedEnvironment(partial(Line, "hang"), 60.0)
    for _ in range(2):
        environment.step(np.zeros(1))

    def interrupt(seconds: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment._connection, "poll", interrupt)
    with pytest.raises(KeyboardInterrupt):
        environment.step(np.zeros(1))
    started = time.monotonic()
    environment.close()
    assert time.monotonic() - started < guarded.CLOSING_SECONDS


def test_an_environment_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match="there is no such environment"):
        GuardedEnvironment(refuse, 2.0)


def test_an_environment_that_hangs_while_it_is_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "MAKING_SECONDS", 0.2)
    before = multiprocessing.active_children()
    with pytest.raises(InputError, match=r"could not be made: no answer within 0\.2 seconds \(--step_timeout\)"):
        GuardedEnvironment(partial(time.sleep, 60), 0.1)  # type: ignore[arg-type]
    assert multiprocessing.active_children() == before
