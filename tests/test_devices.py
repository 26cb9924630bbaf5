"""Training and planning run on a device other than the CPU; see `second_device`."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = "from tests.second_device import register; register(); from tests.device_scenarios import main; main()"
TRAININGS = ("learned", "rotary", "quantile", "muon")
PLANS = [*product(("learned", "rotary"), ("cropped", "full"), ("float32", "bfloat16")), ("quantile", "full", "float32")]
NAMES = ["device-checks", *(f"train-{what}" for what in TRAININGS), *("-".join(("plan", *what)) for what in PLANS)]


@pytest.fixture(scope="module")
def errors() -> dict[str, str | None]:
    """Return the traceback of each failed scenario, None for the others."""
    run = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    errors = json.loads(run.stdout)
    assert [*errors] == NAMES
    return errors


@pytest.mark.parametrize("name", NAMES)
def test_scenario_runs_on_the_second_device(errors: dict[str, str | None], name: str) -> None:
    assert errors[name] is None, errors[name]
