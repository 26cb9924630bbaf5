"""Environments with faults. A process that makes one imports this file, and so neither torch nor pytest."""

import os
import time
from typing import Any

import gymnasium
import numpy as np

from trajectory_adacat.errors import InputError


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """Counts its steps; at the third it does what it was made for."""

    def __init__(self, fault: str = "") -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._fault, self._steps = fault, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(2), {"unpicklable": lambda: None}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._steps += 1
        if self._steps == 3 and self._fault == "hang":
            time.sleep(600)
        if self._steps == 3 and self._fault == "raise":
            raise RuntimeError("the line is cut")
        if self._steps == 3 and self._fault == "die":
            os._exit(7)
        value = np.nan if self._steps == 3 and self._fault == "nan" else float(action[0])
        return np.full(2, value), 1.0, False, False, {}


def refuse() -> gymnasium.Env:
    raise InputError("there is no such environment")
