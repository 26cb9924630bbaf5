"""Rollouts of baselines: the environment's returns for the actor, in the format of the planner's results."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines import evaluate
from benchmarks.baselines.experiment import RECORD
from benchmarks.baselines.networks import ACTOR, Actor
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.environments import environment_info, make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.plotting.table import tabulate

from .conftest import COLLECTED, MakeBaseline


def episode(actor: Actor, seed: int) -> tuple[float, int]:
    """Return the return and the length of an episode, step by step."""
    total, length, ended = 0.0, 0, False
    with make_environment(COLLECTED) as environment:
        observation, _ = environment.reset(seed=seed)
        while not ended:
            action = np.tanh(actor.network(observation)).astype(np.float32)
            observation, reward, terminated, truncated, _ = environment.step(action)
            total, length, ended = total + float(reward), length + 1, terminated or truncated
    return total, length


def test_each_result_is_that_of_the_environment(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    evaluate.main(["--baseline", str(folder), "--seed", "5", "--n_rollouts", "2"])
    results = list(load_results([folder]).values())
    assert [result.rollout_seed for result in results] == [5, 6]
    for result in results:
        total, length = episode(Actor.load(folder / ACTOR), result.rollout_seed)
        assert (result.return_, result.length) == (pytest.approx(total, rel=1e-5), length)
        assert result.normalized_score == normalized_score(COLLECTED, result.return_)
        assert (result.parameterization, result.train_seed, result.data_status) == ("iql", 0, "verified")
        assert result.environment == environment_info(COLLECTED)
        assert result.checkpoint["hash"] == file_sha256(folder / RECORD)
        assert result.checkpoint["step"] == 4
        assert result.planner == {"actor": "deterministic", "max_episode_length": 1000}


def test_the_table_has_a_column_for_each_baseline_over_its_trainings(
    make_baseline: MakeBaseline, tmp_path: Path
) -> None:
    folders = [make_baseline(algorithm, seed) for algorithm in ("iql", "bc") for seed in (0, 1)]
    for folder in folders:
        evaluate.main(["--baseline", str(folder), "--n_rollouts", "2"])
    header, *lines = tabulate([tmp_path], "csv").splitlines()
    columns = header.split(",")
    found = [dict(zip(columns, line.split(","), strict=True)) for line in lines]
    measured = {row["method"]: (row["trainings"], row["n"]) for row in found if row["kind"] == "measured"}
    assert measured == {"bc": ("2", "4"), "iql": ("2", "4")}


def test_results_of_another_training_are_kept_unless_overwritten(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    flags = ["--baseline", str(folder), "--n_rollouts", "1"]
    evaluate.main(flags)
    make_baseline(step=8)
    with pytest.raises(InputError, match="of another checkpoint"):
        evaluate.main(flags)
    evaluate.main([*flags, "--overwrite"])
    assert [result.checkpoint["step"] for result in load_results([folder]).values()] == [8]


def test_a_damaged_actor_is_refused(make_baseline: MakeBaseline) -> None:
    folder = make_baseline()
    (folder / ACTOR).write_bytes((folder / ACTOR).read_bytes()[:-50])
    with pytest.raises(InputError, match=r"actor.npz is missing or not what the training wrote"):
        evaluate.main(["--baseline", str(folder)])
    assert not (folder / "rollouts.jsonl").exists()


def test_a_dataset_without_an_environment_is_refused(make_baseline: MakeBaseline) -> None:
    folder = make_baseline(dataset={"name": "own.hdf5", "environment": None})
    with pytest.raises(InputError, match="does not name the environment"):
        evaluate.main(["--baseline", str(folder)])
