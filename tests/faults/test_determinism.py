"""The same seed gives the same bits: twice, in another order, and with other neighbours."""

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest

from tests.scripts.test_plan import Line
from trajectory_adacat.checkpoint import find_checkpoint
from trajectory_adacat.recording import ARRAYS, find_recordings, load_recording
from trajectory_adacat.scripts import plan

ENVIRONMENT = "TrajectoryAdacatTests/Determined-v0"
SEARCH = ["--dataset", "own", "--environment", ENVIRONMENT, "--horizon", "2", "--beam_width", "4", "--verbose", "false"]


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in find_checkpoint(folder).glob("*.safetensors")}


def test_trainings_in_another_order_give_the_same_bits(
    write_dataset: Callable[..., Path], run_train: Callable[..., Path]
) -> None:
    data = write_dataset(9, 8, 7, 6)
    found: dict[int, list[dict[str, bytes]]] = {0: [], 1: []}
    for i, seed in enumerate((0, 1, 1, 0)):
        found[seed].append(weights(run_train(data, seed=seed, exp_name=f"run_{i}", embd_pdrop=0.2)))
    assert found[0][0] == found[0][1]
    assert found[1][0] == found[1][1]
    assert found[0][0]["model.safetensors"] != found[1][0]["model.safetensors"]


@pytest.mark.parametrize("parameterization", ["adacat", "uniform"])
def test_rollouts_beside_others_are_what_they_are_alone(
    write_dataset: Callable[..., Path], run_train: Callable[..., Path], parameterization: str
) -> None:
    gymnasium.register(ENVIRONMENT, entry_point=lambda **_: Line(bound=1.5), max_episode_steps=12)
    try:
        run_train(write_dataset(9, 8, 7, 6), parameterization=parameterization)
        model = ["--gpt_loadpath", f"gpt/{parameterization}_0", "--max_context_transitions", "3"]
        together = rollouts([*model, "--n_rollouts", "5"], "together")
        alone = [rollouts([*model, "--n_rollouts", "1", "--seed", str(seed)], f"alone_{seed}") for seed in range(5)]
    finally:
        del gymnasium.registry[ENVIRONMENT]
    assert together == {seed: result for single in alone for seed, result in single.items()}
    assert len({length for _, length in together.values()}) > 1


def test_the_same_plan_twice_gives_the_same_rollouts_and_recordings(
    write_dataset: Callable[..., Path], run_train: Callable[..., Path]
) -> None:
    gymnasium.register(ENVIRONMENT, entry_point=lambda **_: Line(), max_episode_steps=8)
    flags = ["--gpt_loadpath", "gpt/adacat_0", "--n_rollouts", "2", "--record", "--record_every", "2"]
    try:
        run_train(write_dataset(9, 8, 7, 6))
        first, second = (rollouts(flags, name) for name in ("first", "second"))
    finally:
        del gymnasium.registry[ENVIRONMENT]
    assert first == second
    found = [
        [load_recording(path) for path in find_recordings(Path("logs", "own", name))] for name in ("first", "second")
    ]
    assert [len(recordings) for recordings in found] == [2, 2]
    for one, other in zip(*found, strict=True):
        for name in ARRAYS:
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def rollouts(flags: list[str], name: str) -> dict[int, tuple[float, int]]:
    """Plan, and return the return and the length of each rollout by its seed."""
    plan.main([*SEARCH, *flags, "--exp_name", name])
    (path,) = Path("logs", "own", name).rglob("rollouts.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["rollout_seed"]: (line["return"], line["length"]) for line in lines}
