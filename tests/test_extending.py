"""The Python blocks of docs/extending.md run, and do what the page says."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.models.loss import LossConfig, sequence_loss
from trajectory_adacat.planning.decoding import WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.robots import ROBOTS, named_datasets
from trajectory_adacat.settings import build

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = {
    section.splitlines()[0]: re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}


@pytest.fixture
def run_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a section's blocks as a module that has a file: help texts come from the source."""
    monkeypatch.chdir(tmp_path)

    def run(section: str) -> dict[str, Any]:
        path = tmp_path / "page.py"
        path.write_text("\n".join(BLOCKS[section]))
        module = ModuleType("page")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, "page", module)
        exec(compile(path.read_text(), str(path), "exec"), vars(module))
        return vars(module)

    return run


def test_each_section_has_code() -> None:
    assert {name: len(blocks) for name, blocks in BLOCKS.items()} == {
        "A head": 1,
        "A planner": 1,
        "A dataset": 1,
        "A robot": 1,
        "A setting": 1,
    }


def test_a_head(run_blocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_blocks("A head")
    monkeypatch.setitem(HEADS, "beta", found["BetaConfig"])
    torch.manual_seed(0)
    sizes = {"observation_size": 2, "action_size": 1, "n_transitions": 3, "n_layer": 1, "n_head": 1, "n_embd": 8}
    model = GPT(build(GPTConfig, {**sizes, "parameterization": "beta"}))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    tokens, mask = torch.rand(32, 15) * 0.1 + 0.3, torch.ones(32, 15, dtype=torch.bool)
    losses = []
    for _ in range(60):
        token_losses = model.head.loss(model(tokens[:, :-1]), tokens[:, 1:])
        loss = sequence_loss(token_losses, mask, model.spec, LossConfig())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    search = BeamSearchConfig(0.9, 2, 2, k_obs=None, k_rew=None, sampling="mean")
    normalizer = MinMaxNormalizer(torch.zeros(5), torch.ones(5))
    planner = Planner(model, normalizer, PlannerConfig(search, WindowConfig("full", 2)))
    planner.reset(0)
    assert 0.25 < float(planner.act([[0.3, 0.4]])[0, 0]) < 0.45
    with pytest.raises(InputError, match="no bins"):
        Planner(model, normalizer, PlannerConfig(BeamSearchConfig(0.9, 2, 2), WindowConfig("full", 2)))


def test_a_planner(run_blocks: Any) -> None:
    results = run_blocks("A planner")["results"]
    assert [result.seed for result in results] == [0, 1]
    assert all(result.ended and result.length > 0 for result in results)


def test_a_dataset(run_blocks: Any) -> None:
    dataset = run_blocks("A dataset")["dataset"]
    assert [len(episode) for episode in dataset.episodes] == [10, 10, 10, 10]
    assert all(episode.truncated for episode in dataset.episodes)


def test_a_robot(run_blocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROBOTS, "swimmer", None)  # removed again afterwards
    run_blocks("A robot")
    assert "swimmer-random-collected" in named_datasets()


def test_a_setting(run_blocks: Any) -> None:
    found = run_blocks("A setting")
    assert found["config"] == LossConfig(action_weight=3.0)
