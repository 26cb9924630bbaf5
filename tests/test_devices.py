"""No device is assumed anywhere: everything runs on one that is not the CPU; see `second_device`."""

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
NAMES = ["notice", *(f"train-{what}" for what in TRAININGS), *("-".join(("plan", *what)) for what in PLANS)]


@pytest.fixture(scope="module")
def errors() -> dict[str, str | None]:
    """What went wrong in each scenario."""
    run = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [*found] == NAMES
    return found


@pytest.mark.parametrize("name", NAMES)
def test_works_on_another_device(errors: dict[str, str | None], name: str) -> None:
    assert errors[name] is None, errors[name]
