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
# Each form with each window, and both precisions; the other plans are slow.
SLOW = [name for name in NAMES if name.endswith(("cropped-float32", "full-bfloat16"))]
FAST = ["device-checks", *(name for name in NAMES if name not in SLOW)]
ON_GPU = [*NAMES, "train-bfloat16"]
CASES = [
    *(("second", name) for name in FAST),
    *(pytest.param("second", name, marks=pytest.mark.slow) for name in SLOW),
    *(pytest.param("cuda", name, marks=NEEDS_GPU) for name in ON_GPU),
]


@cache
def errors(device: str, *names: str) -> dict[str, str | None]:
    """Run scenarios in one process; return the traceback of each failed one, None for the others."""
    command = [sys.executable, "-c", RUN[device], device, *names]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(("device", "name"), CASES)
def test_scenario_runs_on_the_device(device: str, name: str) -> None:
    together = ON_GPU if device == "cuda" else SLOW if name in SLOW else FAST
    assert errors(device, *together)[name] is None, errors(device, *together)[name]
