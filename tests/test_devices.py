"""Training and planning run on a simulated device (`second_device`), and on a GPU if there is one."""

import json
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
RUN = {
    "second": "from tests.second_device import register; register(); from tests.device_scenarios import main; main()",
    "cuda": "from tests.device_scenarios import main; main()",
}
TRAININGS = ("learned", "rotary", "quantile", "muon")
PLANS = [*product(("learned", "rotary"), ("cropped", "full"), ("float32", "bfloat16")), ("quantile", "full", "float32")]
NAMES = [*(f"train-{what}" for what in TRAININGS), *("-".join(("plan", *what)) for what in PLANS)]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CASES = [
    *(("second", name) for name in ("device-checks", *NAMES)),
    *(pytest.param("cuda", name, marks=NEEDS_GPU) for name in (*NAMES, "train-bfloat16")),
]


@cache
def errors(device: str) -> dict[str, str | None]:
    """Return the traceback of each failed scenario, None for the others."""
    command = [sys.executable, "-c", RUN[device], device]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(("device", "name"), CASES)
def test_scenario_runs_on_the_device(device: str, name: str) -> None:
    assert errors(device)[name] is None, errors(device)[name]
