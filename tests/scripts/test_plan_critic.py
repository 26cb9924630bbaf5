"""Planning with a critic: which one is taken, what the results say, and what does not belong together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.plotting.summary import gather
from trajectory_adacat.scripts import critic, plan

Write = Callable[..., Path]
RunTrain = Callable[..., Path]
CRITIC = {"hidden_size": 8, "n_steps": 4, "mc_steps": 2, "batch_size": 8, "holdout_fraction": 0.25, "verbose": "false"}
PLAN = {
    "dataset": "own",
    "environment": "hopper-medium-v2",
    "max_episode_length": 3,
    "n_rollouts": 1,
    "verbose": "false",
    "horizon": 2,
    "max_context_transitions": 2,
}


def words(flags: dict[str, Any]) -> list[str]:
    return [text for name, value in flags.items() for text in (f"--{name}", str(value))]


@pytest.fixture
def data(write_dataset: Write, run_train: RunTrain) -> Path:
    """A file of hopper's sizes, with a model trained on it."""
    path = write_dataset(9, 8, 7, 6, sizes=(11, 3))
    run_train(path)
    return path


def train_critic(path: Path, **changes: Any) -> None:
    critic.main(words({**CRITIC, "dataset": "own", "dataset_path": path, **changes}))


def run(home: Path, name: str, **changes: Any) -> dict[str, Any]:
    plan.main(words({**PLAN, "exp_name": name, **changes}))
    (line,) = (home / "logs" / "own" / name / "rollouts.jsonl").read_text().splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def test_the_critic_of_the_models_seed_is_found_and_recorded(data: Path, home: Path) -> None:
    train_critic(data)
    values, scored = run(home, "values"), run(home, "critic", critic="auto")
    assert values["planner"]["scoring"] == {"name": "values"}
    assert scored["planner"]["scoring"] == {"name": "critic", "critic_aggregate": "min"}
    assert scored["planner"]["critic"]["expectile"] == 0.9
    assert scored["planner"]["critic"]["step"] == 4
    assert scored["checkpoint"]["hash"] != values["checkpoint"]["hash"]
    assert scored["return"] != values["return"]
    by_path = run(home, "path", critic=home / "logs" / "own" / "critic" / "iql_0", scoring="critic")
    assert by_path["return"] == scored["return"]
    assert by_path["checkpoint"] == scored["checkpoint"]


def test_another_critic_is_another_column(data: Path, home: Path) -> None:
    train_critic(data)
    train_critic(data, exp_name="critic/longer", n_steps=6)
    for name, changes in {"a": {"critic": "auto"}, "b": {"critic": "critic/longer"}, "c": {}}.items():
        run(home, name, **changes)
    (row,) = gather(load_results([home / "logs"]))
    assert len(row.values) == 3
    assert all(np.size(scores) == 1 for scores in row.values.values())


def test_what_does_not_belong_together_is_refused(data: Path, home: Path, write_dataset: Write) -> None:
    with pytest.raises(InputError, match=r"trajectory-adacat critic --dataset own --seed 0"):
        run(home, "missing", critic="auto")
    train_critic(data, exp_name="critic/discount", discount=0.5)
    with pytest.raises(InputError, match=r"discount is 0\.5, the model's 0\.99"):
        run(home, "discount", critic="critic/discount")
    train_critic(data, exp_name="critic/seed", seed=3)
    with pytest.raises(InputError, match="the model's --seed 0"):
        run(home, "seed", critic="critic/seed")
    with pytest.raises(InputError, match="is that of a model, not of a critic"):
        run(home, "model", critic="gpt/adacat_0")
    for sizes, message in (((11, 3), "the hashes differ"), ((4, 2), "sizes 4 and 2, the model of 11 and 3")):
        other = write_dataset(9, 8, 7, 5, sizes=sizes)
        train_critic(other, exp_name=f"critic/{sizes[0]}")
        with pytest.raises(InputError, match=message):
            run(home, "other", critic=f"critic/{sizes[0]}")


def test_a_critics_flag_without_a_critic_is_refused(data: Path, home: Path) -> None:
    with pytest.raises(InputError, match="--critic has no effect with --scoring values"):
        run(home, "values", critic="auto", scoring="values")
    with pytest.raises(InputError, match="--critic_aggregate has no effect with --scoring values"):
        run(home, "values", critic_aggregate="mean")
