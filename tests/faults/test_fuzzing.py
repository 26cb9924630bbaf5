"""Generated files: whatever a file says, the answer is a result or one paragraph."""

import copy
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.evaluation.test_results import RESULT
from tests.faults.fuzzing import CASES_EACH, fuzzed
from tests.test_recording import some_recording
from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_training
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RESULTS_FILE, load_results
from trajectory_adacat.plotting.report.experiments import load_material
from trajectory_adacat.plotting.table import tabulate
from trajectory_adacat.recording import load_recording
from trajectory_adacat.scripts import plan_setting
from trajectory_adacat.scripts.training_folder import method
from trajectory_adacat.training.config import TrainConfig

NUMBERS = st.integers(-3, 40) | st.sampled_from([10**6, 2**63, -(2**70), 10**400]) | st.floats(width=32)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["adacat", "uniform", "../x", ""])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def check(call: Callable[[], object]) -> None:
    """Call a function, which may refuse its input in one paragraph."""
    try:
        call()
    except InputError as error:
        assert str(error).strip()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in nested lists and dictionaries."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any, is_removed: bool) -> Any:
    """Return a copy with the value at a path replaced or removed."""
    if not path:
        return new
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if is_removed:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


@st.composite
def changes(draw: st.DrawFn, original: Any) -> Any:
    """One to three changes of nested values."""
    value = original
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(value)))
        value = changed(value, path, draw(VALUES), draw(st.booleans()))
    return value


@pytest.fixture(scope="module")
def model(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a tiny training's last checkpoint."""
    folder = tmp_path_factory.mktemp("fuzzed") / "step_00000006"
    shutil.copytree(find_checkpoint(trained_once / "own" / "gpt" / "adacat_0"), folder)
    description = json.loads((folder / "checkpoint.json").read_text())
    description.pop("sha256")
    (folder / "original.json").write_text(json.dumps(description))
    return folder


@fuzzed(CASES_EACH)
@given(data=st.data())
def test_checkpoints(model: Path, data: st.DataObject) -> None:
    original = json.loads((model / "original.json").read_text())
    new = data.draw(changes(original))
    (model / "checkpoint.json").write_text(json.dumps(new))

    def load() -> None:
        description = read_training(model)
        load_model(model)
        plan_setting.trained_discounting(description, 0.99)
        method(TrainConfig, description)

    check(load)


@fuzzed(CASES_EACH)
@given(data=st.data())
def test_results(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    original = json.loads(RESULT.to_json(Path("x")))
    lines = [json.dumps(data.draw(changes(original))) for _ in range(data.draw(st.integers(1, 2)))]
    folder = tmp_path_factory.mktemp("results")
    (folder / RESULTS_FILE).write_bytes(
        "\n".join(lines).encode("utf-8", "surrogatepass") + data.draw(st.binary(max_size=3))
    )

    def read() -> None:
        if load_results([folder]):
            tabulate([folder])

    check(read)
    load_material([folder])


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with some bytes changed, removed or added."""
    result = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(result) - 1))
        result[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(result)


def npz(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


ARRAYS = st.sampled_from(
    [
        np.zeros((0,)),
        np.zeros((2, 3, 7), np.float32),
        np.full((8, 3), np.nan),
        np.array("text"),
        np.array(["a", None], object),
        np.zeros((3, 2), np.complex64),
        np.array('{"format": 1}'),
        np.array("[" * 5000),
        np.array([-1, 10**9]),
    ]
)


@fuzzed(CASES_EACH)
@given(data=st.data())
def test_recordings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("recording") / "recordings" / "rollout_3.npz"
    some_recording().save(path)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = data.draw(st.sampled_from(sorted(members)))
        whole = npy(data.draw(ARRAYS))
        members[name] = data.draw(st.sampled_from([whole]) | damaged(whole))
        path.write_bytes(npz(members))
    check(lambda: load_recording(path))
    load_material([path.parents[1]])


NAMES = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations", "episode_ids")
DTYPES = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "u8", "?", "c8", "S3", "V4"])
SHAPES = st.sampled_from([(6,), (6, 3), (6, 2), (0,), (6, 0), (1,), (1, 3), (1, 2), (), (7,), (6, 1, 1)])
FILL = st.sampled_from([0, 1, -1, 0.5, 1e30, np.inf, np.nan])


@fuzzed(CASES_EACH)
@given(data=st.data())
@example(data=None)
def test_datasets(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject | None) -> None:
    path = tmp_path_factory.mktemp("data") / "own.hdf5"
    arrays = {
        "observations": np.arange(18, dtype="f4").reshape(6, 3),
        "actions": np.zeros((6, 2), "f4"),
        "rewards": np.zeros(6, "f4"),
        "terminals": np.arange(6) % 3 == 2,
    }
    for _ in range(0 if data is None else data.draw(st.integers(0, 3))):
        assert data is not None
        with np.errstate(all="ignore"):
            shape, fill, dtype = data.draw(SHAPES), data.draw(FILL), data.draw(DTYPES)
            array = np.zeros(shape, dtype) if dtype in ("S3", "V4") else np.full(shape, fill).astype(dtype)
        arrays[data.draw(st.sampled_from(NAMES))] = array
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    if data is not None and data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    check(lambda: load_dataset("own", path))
