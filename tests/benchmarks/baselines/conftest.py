"""A trained baseline's folder, written without d3rlpy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines.experiment import experiment_folder, write_record
from benchmarks.baselines.networks import ACTOR, CRITIC, ActionValues, Actor, Layer, Network
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collected_path

COLLECTED = "hopper-medium-collected"

MakeBaseline = Callable[..., Path]


def random_network(n_inputs: int, n_outputs: int, seed: int = 0) -> Network:
    """Return a network with two hidden layers of 5."""
    rng = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Layer:
        return Layer(*(rng.normal(size=shape).astype(np.float32) for shape in ((inputs, outputs), (outputs,))))

    return Network([layer(n_inputs, 5), layer(5, 5), layer(5, n_outputs)])


@pytest.fixture
def make_baseline(collected_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBaseline:
    """Writes the folder of a baseline of hopper with random networks, and returns it."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(collected_home))

    def make(algorithm: str = "iql", seed: int = 0, holdout_fraction: float = 0.05, **changed: object) -> Path:
        folder = experiment_folder(str(tmp_path), COLLECTED, algorithm, seed)
        folder.mkdir(parents=True, exist_ok=True)
        Actor(random_network(11, 3, seed)).save(folder / ACTOR)
        ActionValues([random_network(14, 1, i) for i in range(2)], random_network(11, 1)).save(folder / CRITIC)
        record = {
            "algorithm": algorithm,
            "train_seed": seed,
            "step": 4,
            "training": {
                "algorithm": algorithm,
                "dataset": COLLECTED,
                "holdout_fraction": holdout_fraction,
                "settings": {"gamma": 0.99},
            },
            "dataset": {
                "name": COLLECTED,
                "label": COLLECTED,
                "sha256": file_sha256(collected_path(COLLECTED)),
                "verified": True,
                "environment": COLLECTED,
                "mean_return": 1256.0,
            },
            "termination_penalty": None,
            "seconds": 1.0,
            **changed,
        }
        write_record(folder, record, [folder / ACTOR, folder / CRITIC])
        return folder

    return make
