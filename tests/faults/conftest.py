"""Fixtures of other folders, and of several files here."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from tests.scripts.conftest import home, make_flags, run_train, trained_once, write_dataset
from tests.scripts.test_plan import LINE, Line
from tests.scripts.test_plan import flags as plan_flags
from tests.training.conftest import make_trainer, windows
from trajectory_adacat.scripts import plan

__all__ = ["home", "make_flags", "make_trainer", "run_train", "trained_once", "windows", "write_dataset"]


@pytest.fixture
def trained_model(trained_once: Path, home: Path) -> Path:
    shutil.copytree(trained_once, home / "logs")
    return home / "logs"


@pytest.fixture
def run_plan(trained_once: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Plans with a tiny model, and returns the experiment's folder."""
    shutil.copytree(trained_once, home / "logs")
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.envs.registration.registry))
    gymnasium.register(LINE, entry_point=Line, max_episode_steps=6)

    def run(*words: str, **changes: Any) -> Path:
        plan.main([*plan_flags(exp_name="plans", **changes), *words])
        return home / "logs" / "own" / "plans"

    return run
