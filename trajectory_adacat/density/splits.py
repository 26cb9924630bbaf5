"""Training, validation and test data of a density experiment, and the check of the package they come from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajectory_adacat.errors import InputError


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset: rows of a table, float64 ``[n, D]``, or grey images, uint8 ``[n, h, w]``.

    Attributes:
        training: for training.
        validation: for the selection of weights.
        test: for the reported likelihood.
    """

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def sha256(self) -> str:
        """The hash of all splits."""
        parts = (self.training, self.validation, self.test)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def check_package(package: Path, sha256: str) -> None:
    """Check the hash of a downloaded file.

    Raises:
        InputError: if it differs.
    """
    if hashlib.sha256(package.read_bytes()).hexdigest() != sha256:
        raise InputError(f"{package} is damaged or another version: its SHA-256 is not {sha256}.")
