"""Scenarios on a device: train, evaluate, save, load and plan.

The first argument is ``second`` or ``cuda``, the others are the scenarios to run.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.computing import use_device
from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import SequenceDataset, Trajectories
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.settings import build
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.trainer import Trainer

from .second_device import NAME, SecondDevice

DEVICE = sys.argv[1]


def episodes(seed: int) -> list[Episode]:
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(4):
        seen = generator.normal(size=(7, 2)).cumsum(0).astype(np.float32)
        made.append(Episode(seen, seen[:, 1:], seen[:, 0], False, True, seen[-1]))
    return made


SIZES = {
    "observation_size": 2,
    "action_size": 1,
    "n_transitions": 3,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 4,
    "n_bins": 5,
    "N": 5,
    "n_components": 5,
}


def small_model(**form: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(build(GPTConfig, {**SIZES, **form}))


def train(form: dict[str, Any], settings: dict[str, Any]) -> None:
    """Train, evaluate and save a model, and load the checkpoint."""
    model = small_model(**form).to(DEVICE)
    trajectories = [Trajectories.from_episodes(episodes(seed), 0.9, None) for seed in (0, 1)]
    normalizer = MinMaxNormalizer.fit(trajectories[0].transitions)
    training, held_out = (SequenceDataset(t, normalizer, model.spec, 3, device=DEVICE) for t in trajectories)
    with tempfile.TemporaryDirectory() as folder:
        values = {"n_steps": 1, "batch_size": 8, "n_saves": 1, "log_freq": 1, **settings}
        configs = (LossConfig(), build(TrainerConfig, values), build(RunConfig, values))
        path, description = Path(folder, "run"), {"name": "test"}
        trainer = Trainer(model, training, held_out, normalizer, *configs, path, description, verbose=False)
        before = model.positions.weight.detach().cpu().clone()
        trainer.train()
        assert model.positions.weight.device.type == DEVICE
        assert not torch.equal(model.positions.weight.detach().cpu(), before)
        loaded = load_model(path, use_ema=True, device=use_device(DEVICE))
        assert loaded.model.device.type == DEVICE


def plan(form: dict[str, Any], window: str, precision: str) -> None:
    """Plan for two environments, one of which terminates; in float32, compare the actions with the CPU's.

    Midpoints of few bins give plans of equal scores, of which a GPU may take another one.
    """
    is_comparable = precision == "float32" and (DEVICE == NAME or "parameterization" not in form)
    search = BeamSearchConfig(0.9, horizon=2, beam_width=3, n_expand=2, cdf_act=0.2, drop_obs=0.2, percentile=60.0)
    config = PlannerConfig(search, WindowConfig(window, 3), precision=precision)  # type: ignore[arg-type]
    actions: dict[str, list[np.ndarray]] = {}
    for device in ("cpu", DEVICE):
        normalizer = MinMaxNormalizer(torch.full((5,), -1.0), torch.full((5,), 1.0))
        planner = Planner(small_model(**form).to(device), normalizer, config)
        planner.reset([0, 1])
        actions[device] = []
        for live in ([0, 1], [0, 1], [1]):
            actions[device].append(planner.act(np.full((len(live), 2), 0.1), live))
            planner.observe([0.5] * len(live), environments=live)
    for expected, action in zip(actions["cpu"], actions[DEVICE], strict=True):
        assert np.isfinite(action).all()
        if is_comparable:
            np.testing.assert_allclose(action, expected, atol=1e-4)


def assert_fails(operation: Callable[[], object]) -> None:
    try:
        operation()
    except RuntimeError as error:
        assert NAME in str(error)
    else:
        raise AssertionError("an operation accepted tensors of two devices")


def check_device() -> None:
    """Check that the second device refuses to mix devices, as a GPU does."""
    second = torch.rand(3, 4, device=NAME)
    assert second.device.type == NAME
    assert torch.arange(3, device=second.device).device == second.device
    assert second.sum().cpu().device.type == "cpu"
    assert (second * torch.tensor(2.0)).device == second.device
    assert second[torch.arange(2)].device == second.device
    cpu = torch.rand(3, 4)
    assert_fails(lambda: second + cpu)
    assert_fails(lambda: cpu[torch.arange(2, device=NAME)])
    assert_fails(lambda: torch.cat([second, cpu]))
    assert_fails(lambda: F.embedding(torch.arange(3), second))
    assert_fails(lambda: second.gather(1, torch.zeros(3, 1, dtype=torch.long)))
    assert_fails(lambda: torch.rand(3, device=NAME, generator=torch.Generator()))
    with torch.inference_mode():
        assert_fails(lambda: F.linear(second, cpu))


FORMS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rotary": {"positions": "rotary", "embedding": "per_dimension"},
    "quantile": {"parameterization": "quantile"},
}
PLANS = [*product(("learned", "rotary"), ("cropped", "full"), ("float32", "bfloat16")), ("quantile", "full", "float32")]
SCENARIOS: dict[str, Callable[[], None]] = {
    **({"device-checks": check_device} if DEVICE == NAME else {}),
    **{f"train-{name}": lambda form=form: train(form, {}) for name, form in FORMS.items()},  # type: ignore[misc]
    "train-muon": lambda: train({"attn_pdrop": 0.0}, {"optimizer": "muon"}),
    # The simulated device has no autocast.
    **({} if DEVICE == NAME else {"train-bfloat16": lambda: train({}, {"precision": "bfloat16"})}),
    **{
        f"plan-{name}-{window}-{precision}": lambda a=(FORMS[name], window, precision): plan(*a)  # type: ignore[misc]
        for name, window, precision in PLANS
    },
}


def run(scenario: Callable[[], None]) -> str | None:
    """Return the traceback of a failed scenario, else None."""
    try:
        with SecondDevice() if DEVICE == NAME else nullcontext():
            scenario()
    except Exception:
        return traceback.format_exc()
    return None


def main() -> None:
    """Run the named scenarios and print their tracebacks as JSON."""
    torch.set_num_threads(1)
    json.dump({name: run(SCENARIOS[name]) for name in sys.argv[2:]}, sys.stdout)
