"""Damaged and hostile checkpoints: one paragraph, never a wrong result, no memory, no code."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.editing import edited
from tests.faults.forging import forge, forge_tensors, peak_bytes, refusal, safetensors
from tests.scripts.conftest import tiny_flags
from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_tensors, read_training
from trajectory_adacat.errors import CheckpointError
from trajectory_adacat.pretrained.folder import SHIPPED
from trajectory_adacat.scripts import plan, train
from trajectory_adacat.sweep.outputs import set_aside_damaged

FILES = ("model.safetensors", "ema.safetensors", "normalizer.safetensors", "training.safetensors")
PLAN = ["--dataset", "own", "--horizon", "2", "--beam_width", "2", "--max_context_transitions", "3"]


@pytest.fixture
def checkpoint(trained_once: Path, home: Path) -> Path:
    """A copy of a tiny training's last checkpoint, where plan finds it."""
    shutil.copytree(trained_once, home / "logs")
    return find_checkpoint(home / "logs" / "own" / "gpt" / "adacat_0")


def load_all(checkpoint: Path) -> dict[str, Any]:
    """Load everything of a checkpoint; return its description."""
    description = read_training(checkpoint)
    for name in FILES:
        read_tensors(checkpoint, name, description)
    load_model(checkpoint)
    load_model(checkpoint, use_ema=True)
    return description


# -- damage ----------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(checkpoint: Path) -> None:
    load_all(checkpoint)
    for name in (*FILES, "checkpoint.json"):
        whole = (checkpoint / name).read_bytes()
        for length in range(0, len(whole) - 1, 1024):
            (checkpoint / name).write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
                load_all(checkpoint)
        (checkpoint / name).write_bytes(whole)
    load_all(checkpoint)


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_any_byte_of_the_description_is_found(checkpoint: Path, step: int) -> None:
    """Or it changes nothing: a space may become another, or the key of the hash another key."""
    before, bits = read_training(checkpoint), random.Random(0)
    file = checkpoint / "checkpoint.json"
    whole, refused = file.read_bytes(), 0
    for i in range(0, len(whole), step):
        changed = bytearray(whole)
        changed[i] ^= 1 << bits.randrange(8)
        file.write_bytes(changed)
        try:
            after = read_training(checkpoint)
        except CheckpointError:
            refused += 1
            continue
        assert {key: after.get(key) for key in before} == before
    assert refused > 0.7 * len(whole) / step


@pytest.mark.parametrize("n_flips", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_the_tensors_is_found(checkpoint: Path, n_flips: int) -> None:
    description, places = read_training(checkpoint), random.Random(0)
    for _ in range(n_flips):
        name = places.choice(FILES)
        whole = (checkpoint / name).read_bytes()
        changed = bytearray(whole)
        changed[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        (checkpoint / name).write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged"):
            read_tensors(checkpoint, name, description)
        (checkpoint / name).write_bytes(whole)


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_byte_of_a_header_is_found(checkpoint: Path, name: str, step: int) -> None:
    description, bits = read_training(checkpoint), random.Random(0)
    whole = (checkpoint / name).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")  # its length and its JSON
    for i in range(0, header, step):
        changed = bytearray(whole)
        changed[i] ^= 1 << bits.randrange(8)
        (checkpoint / name).write_bytes(changed)
        with pytest.raises(CheckpointError, match=rf"{name}.* damaged"):
            read_tensors(checkpoint, name, description)


# -- bad intentions --------------------------------------------------------------------------------------------

ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        safetensors({}, length=2**63),
        safetensors({}, length=2**64 - 1),
        safetensors({}, length=0),
        safetensors(b"not json"),
        safetensors(b"[" * 100_000),
        safetensors(b'{"a": ' * 50_000),
        safetensors({"a": ENTRY}),  # without its data
        safetensors({"a": {**ENTRY, "shape": [2**40, 2**40]}}, bytes(4)),
        safetensors({"a": {**ENTRY, "shape": [-1]}}, bytes(4)),
        safetensors({"a": {**ENTRY, "data_offsets": [0, 2**62]}}, bytes(4)),
        safetensors({"a": {**ENTRY, "dtype": "pickle"}}, bytes(4)),
        safetensors({"a": ENTRY, "b": ENTRY}, bytes(4)),  # at the same place
        b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",  # a pickle
    ],
    ids=range(14),
)
@pytest.mark.parametrize("name", ["model.safetensors", "normalizer.safetensors"])
def test_a_file_of_tensors_that_is_none_is_refused(checkpoint: Path, name: str, content: bytes) -> None:
    forge(checkpoint, name, content)
    with pytest.raises(CheckpointError, match=r"step_00000006"):
        load_model(checkpoint)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.safetensors", lambda tensors: tensors.popitem()),
        ("model.safetensors", lambda tensors: tensors.update(more=torch.zeros(1))),
        ("model.safetensors", lambda tensors: tensors.update({"norm.bias": torch.zeros(1, 7)})),
        ("model.safetensors", lambda tensors: tensors["norm.bias"].fill_(torch.nan)),
        ("model.safetensors", lambda tensors: tensors.update({"norm.bias": torch.zeros(4).to(torch.float8_e5m2)})),
        ("normalizer.safetensors", lambda tensors: tensors.pop("low")),
        ("normalizer.safetensors", lambda tensors: tensors["low"].fill_(torch.inf)),
        ("normalizer.safetensors", lambda tensors: tensors["low"].fill_(1e9)),
        ("normalizer.safetensors", lambda tensors: tensors.update(low=torch.zeros(2), high=torch.ones(2))),
    ],
    ids=range(9),
)
def test_tensors_that_do_not_fit_are_refused(checkpoint: Path, name: str, change: Callable[[Any], object]) -> None:
    forge_tensors(checkpoint, name, change)
    with pytest.raises(CheckpointError, match=r"step_00000006"):
        load_model(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.clear(),
        lambda tensors: tensors.update(rng=torch.zeros(3, dtype=torch.uint8)),
        lambda tensors: tensors.update(rng=torch.zeros(3)),
        lambda tensors: tensors.update({key: torch.zeros(1, 1) for key in tensors if key.endswith("/exp_avg")}),
    ],
    ids=range(4),
)
def test_a_state_that_does_not_fit_is_not_resumed(
    write_dataset: Callable[..., Path], run_train: Callable[..., Path], change: Callable[[Any], object]
) -> None:
    data = write_dataset(9, 8, 7, 6)
    forge_tensors(find_checkpoint(run_train(data)), "training.safetensors", change)
    with pytest.raises(CheckpointError, match="holds another model"):
        run_train(data, resume="true", n_steps=8)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_layer": 10**9},
        {"n_embd": 10**9},
        {"n_head": 10**30},
        {"n_transitions": 10**9},
        {"n_transitions": 10**9, "positions": "rotary"},
        {"observation_size": 10**12},
        {"head": {"name": "adacat", "n_bins": 10**12}},
        {"head": {"name": "uniform", "N": 10**12}},
    ],
    ids=str,
)
def test_a_model_of_a_billion_parameters_takes_no_memory(checkpoint: Path, sizes: dict[str, Any]) -> None:
    with edited(checkpoint) as description:
        head = {**description["model"]["head"], **sizes.get("head", {})}
        head = {key: value for key, value in head.items() if head["name"] == "adacat" or key in ("name", "N")}
        description["model"] |= {**sizes, "head": head}
    before = peak_bytes()
    with pytest.raises(CheckpointError, match="does not fit this version's model"):
        load_model(checkpoint)
    assert peak_bytes() - before < 1 << 27


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 100_000,
        '{"format": 2, "files": {}, "step": ' + "9" * 10_000 + "}",
        '{"format": 2, "files": {}, "step": 1e999}',
        '{"format": 2, "files": []}',
        '{"format": 2, "files": {}, "kind": []}',
        '{"format": [2], "files": {}}',
        '{"format": 3, "files": {}}',
        '{"format": 1, "files": {}, "model": []}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "\x00" * 5000,
    ],
    ids=range(11),
)
def test_a_description_that_is_none_is_refused(checkpoint: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint / "checkpoint.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"step_00000006"):
        load_model(checkpoint)
    assert refusal(plan.main, PLAN, capsys)[0] == 4
    assert not set_aside_damaged(checkpoint.parent.parent / "nothing")


@pytest.mark.parametrize("name", [FILES[0], "checkpoint.json"])
@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "loop"])
def test_what_is_not_a_file_is_refused(checkpoint: Path, name: str, kind: str) -> None:
    (checkpoint / name).unlink()
    if kind == "device":
        (checkpoint / name).symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(checkpoint / name)
    elif kind == "folder":
        (checkpoint / name).mkdir()
    else:
        (checkpoint / name).symlink_to(checkpoint / name)
    with pytest.raises(CheckpointError):
        load_all(checkpoint)


@pytest.mark.parametrize("path", ["../../../../secret", "/dev/zero", "sub/file", "."])
def test_files_outside_the_folder_are_not_opened(checkpoint: Path, path: str) -> None:
    with edited(checkpoint) as description:
        description["files"] = {path: "0" * 64}
    assert set_aside_damaged(checkpoint.parent)
    assert not checkpoint.exists()  # it was set aside; an earlier one is whole


# -- no code ---------------------------------------------------------------------------------------------------

NO_WRAPPER = {"id": "A-v0", "additional_wrappers": []}


@pytest.mark.parametrize(
    "specification",
    [
        {**NO_WRAPPER, "entry_point": "os:system", "kwargs": {"command": "touch pwned"}},
        {**NO_WRAPPER, "entry_point": "subprocess:check_output", "kwargs": {"args": ["touch", "pwned"]}},
        {
            "id": "Pendulum-v1",
            "entry_point": "gymnasium.envs.classic_control.pendulum:PendulumEnv",
            "additional_wrappers": [{"name": "W", "entry_point": "os:system", "kwargs": {"command": "touch pwned"}}],
        },
    ],
    ids=range(3),
)
def test_a_specification_in_a_checkpoint_calls_registered_environments_alone(
    checkpoint: Path, specification: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with edited(checkpoint) as description:
        recorded = {"environment": "minari:a/b-v0", "environment_specification": json.dumps(specification)}
        description["dataset"] |= recorded
    status, message = refusal(plan.main, PLAN, capsys)
    assert (status, "not registered with Gymnasium" in message) == (2, True)
    assert not Path("pwned").exists()


def test_a_module_is_not_imported_because_a_foreign_checkpoint_names_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil.py").write_text("open('pwned', 'w')")
    with edited(checkpoint) as description:
        description["dataset"]["environment"] = "evil:Evil-v0"
    foreign = tmp_path / "elsewhere"
    shutil.copytree(checkpoint.parent, foreign)
    status, message = refusal(plan.main, [*PLAN, "--gpt_loadpath", str(foreign)], capsys)
    assert (status, "--environment evil:Evil-v0" in message) == (2, True)
    exported = tmp_path / "exported"
    shutil.copytree(checkpoint, exported / "model")
    flags = ["--pretrained", str(exported), "--use_ema", "true", *PLAN[2:]]
    assert "--environment evil:Evil-v0" in refusal(plan.main, flags, capsys)[1]
    assert not Path("pwned").exists()


@pytest.mark.parametrize("value", [3, ["a"], {"a": 1}, True])
def test_an_environment_that_is_no_text_is_refused(
    checkpoint: Path, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with edited(checkpoint) as description:
        description["dataset"]["environment"] = value
    assert refusal(plan.main, PLAN, capsys)[0] == 4


def test_the_models_that_ship_are_believed() -> None:
    for path in sorted(SHIPPED.glob("*/model")):
        load_model(path, use_ema=True)


def test_a_training_with_a_damaged_checkpoint_ends_with_status_4(
    checkpoint: Path, write_dataset: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "checkpoint.json").write_bytes(b"")
    flags = [*tiny_flags(write_dataset(9, 8, 7, 6), discount=0.9), "--resume"]
    status, message = refusal(train.main, flags, capsys)
    assert (status, "checkpoint.json cannot be read" in message) == (4, True)
