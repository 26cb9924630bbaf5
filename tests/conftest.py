"""One thread for each test process: the runner starts one process a core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _validated_distributions() -> None:
    # torch.compile switches the checks of all distributions of the process off when it is first used.
    torch.distributions.Distribution.set_default_validate_args(True)
