"""Fixtures of other folders."""

from tests.scripts.conftest import home, make_flags, run_train, trained_once, write_dataset
from tests.training.conftest import make_trainer, windows

__all__ = ["home", "make_flags", "make_trainer", "run_train", "trained_once", "windows", "write_dataset"]
