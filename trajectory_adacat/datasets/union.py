"""Join datasets into one file, as D4RL joined medium and expert."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from trajectory_adacat.datasets.collected import collected_path, own_dataset, prepare, provenance, write_arrays
from trajectory_adacat.datasets.hdf5 import open_hdf5
from trajectory_adacat.datasets.sources import Dataset, load_dataset
from trajectory_adacat.environments import Dynamics, choose_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.robots import NamedDataset

REQUIRED = ("observations", "actions", "next_observations", "rewards", "terminals", "timeouts")
OPTIONAL = ("infos/action_log_probs", "infos/qpos", "infos/qvel")  # kept if every file has them


def unite(name: str, sources: Sequence[str], path: Path | None = None, overwrite: bool = False) -> Path:
    """Join the rows of datasets, in the order given, into a D4RL-format file.

    The last row of each dataset ends an episode: it is marked as a timeout where it has no flag.

    Args:
        name: of the joined dataset; see :func:`own_dataset`.
        sources: names or paths of two or more datasets of the same robot and dynamics.
        path: the file to write; None means that of the name in the cache.
        overwrite: whether to replace an existing file.

    Raises:
        InputError: if a name is bad, a dataset cannot be read, lacks an array, or is of another robot or dynamics, or
            the file exists or cannot be written.
    """
    target = own_dataset(name)
    if len(sources) < 2:
        raise InputError(f"--union joins two or more datasets, got {' '.join(sources)}.")
    datasets = [load_dataset(source) for source in sources]
    dynamics = _common_dynamics(target, datasets)
    path = path or collected_path(target.name, dynamics=dynamics)
    prepare(path, overwrite)
    arrays = _join([_read(dataset) for dataset in datasets], target)
    parts = [{"dataset": dataset.label, "sha256": dataset.sha256} for dataset in datasets]
    source = {"transitions": len(arrays["rewards"]), "union": json.dumps(parts)}
    write_arrays(arrays, path, provenance(target, source, dynamics))
    return path


def _common_dynamics(target: NamedDataset, datasets: Sequence[Dataset]) -> Dynamics:
    """Return the dynamics of all datasets; check that their environments are the robot's."""
    known: dict[str, Dynamics] = {target.robot.corrected_id: "v2", target.robot.native_id: "native"}
    found: dict[str, Dynamics] = {}
    for dataset in datasets:
        environment = choose_environment(dataset.environment).id if dataset.environment else "an unknown environment"
        if environment not in known:
            raise InputError(
                f"{dataset.label} was collected in {environment}, which is no {target.robot.id}: name the robot of the "
                "data in --name."
            )
        found[dataset.label] = known[environment]
    if len(set(found.values())) > 1:
        each = ", ".join(f"{label} has {dynamics}" for label, dynamics in found.items())
        raise InputError(f"The dynamics of the datasets differ ({each}): join data of the same dynamics.")
    return next(iter(found.values()))


def _read(dataset: Dataset) -> dict[str, np.ndarray]:
    if dataset.file is None:
        raise InputError(f"{dataset.name} is not a file: --union joins D4RL-format files.")
    with open_hdf5(dataset.file) as file:
        missing = [name for name in REQUIRED if name not in file]
        if missing:
            raise InputError(f"{dataset.file} lacks {', '.join(missing)}, which --union needs.")
        arrays = {name: file[name][()] for name in (*REQUIRED, *OPTIONAL) if isinstance(file.get(name), h5py.Dataset)}
    last = len(arrays["rewards"]) - 1
    arrays["timeouts"][last] |= not arrays["terminals"][last]
    return arrays


def _join(parts: Sequence[dict[str, np.ndarray]], target: NamedDataset) -> dict[str, np.ndarray]:
    joined = {}
    for name in (name for name in (*REQUIRED, *OPTIONAL) if all(name in part for part in parts)):
        columns = target.robot.observation_size if name.endswith("observations") else None
        arrays = [part[name][:, :columns] if columns else part[name] for part in parts]  # D4RL's Ant has more
        if len({array.shape[1:] for array in arrays}) > 1:
            raise InputError(f"{name} of the datasets have different numbers of columns.")
        joined[name] = np.concatenate(arrays)
    return joined
