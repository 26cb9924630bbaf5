"""Checkpoints: whole or absent, refused when damaged, and enough to rebuild the model."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.editing import edited
from trajectory_adacat import checkpoint
from trajectory_adacat.checkpoint import (
    checkpoint_name,
    export_average,
    find_checkpoint,
    load_model,
    read_description,
    read_tensors,
    read_training,
    restore_replaced,
    save_checkpoint,
)
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.errors import CheckpointError, InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.settings import build, from_nested
from trajectory_adacat.training.config import TrainConfig

FILES = ("model.safetensors", "ema.safetensors", "normalizer.safetensors", "training.safetensors")
NORMALIZER = MinMaxNormalizer(torch.tensor([-1.0, 0.1, 3.0, 0.0]), torch.tensor([1.0, 0.3, 3.0, 7.0]))


def make_gpt(seed: int, parameterization: Any = "adacat") -> GPT:
    rows = torch.rand(100, 4, generator=torch.Generator().manual_seed(5)) ** 2
    sizes = {"observation_size": 1, "action_size": 1, "n_transitions": 2, "n_layer": 1, "n_head": 1, "n_embd": 4}
    config = build(GPTConfig, {**sizes, "parameterization": parameterization, "n_bins": 4, "N": 4, "n_components": 4})
    model = GPT(config).fit_statistics(rows)
    for parameter in model.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(seed))
    return model.eval()


def save(folder: Path, model: GPT | None = None, replaces: bool = False, **description: Any) -> Path:
    model = model or make_gpt(1)
    ema = make_gpt(2, model.config.head.name)
    save_checkpoint(folder, model, ema, NORMALIZER, {"rng": torch.arange(3)}, {"step": 7, **description}, replaces)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def output(model: GPT) -> Tensor:
    tokens = torch.rand(3, 7, generator=torch.Generator().manual_seed(0))
    return model(tokens).icdf(torch.full((3, 7), 0.3)).detach()


@pytest.mark.parametrize("parameterization", ["adacat", "uniform", "quantile", "logistic_mixture"])
@pytest.mark.parametrize("use_ema", [False, True])
def test_a_loaded_model_predicts_as_the_saved_one_did(tmp_path: Path, parameterization: str, use_ema: bool) -> None:
    path = save(tmp_path / "step_1", make_gpt(1, parameterization))
    loaded = load_model(path, use_ema)
    assert torch.equal(output(loaded.model), output(make_gpt(2 if use_ema else 1, parameterization)))
    assert not loaded.model.training


def test_the_statistics_of_a_standardized_embedding_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    model = make_gpt(1)
    model.embedding.set_statistics(torch.full((4,), 0.3), torch.full((4,), 0.2))  # type: ignore[operator]
    assert not torch.equal(output(model), output(make_gpt(1)))
    assert torch.equal(output(load_model(save(tmp_path / "step_1", model)).model), output(model))


def test_the_normalizer_comes_back_bit_for_bit(tmp_path: Path) -> None:
    loaded = load_model(save(tmp_path / "step_1")).normalizer
    assert torch.equal(loaded.low, NORMALIZER.low)
    assert torch.equal(loaded.high, NORMALIZER.high)


def test_the_description_says_what_it_was_told_and_what_it_was_made_with(tmp_path: Path) -> None:
    description = load_model(save(tmp_path / "step_1", dataset={"name": "own"})).description
    assert description["step"] == 7
    assert description["dataset"] == {"name": "own"}
    assert description["model"]["head"]["n_bins"] == 4
    assert "torch" in description["versions"]
    assert set(description["files"]) == set(FILES)


def test_an_exported_average_plans_as_the_checkpoint_up_to_half_precision(tmp_path: Path) -> None:
    model = make_gpt(1)
    average = make_gpt(2)
    average.embedding.set_statistics(torch.full((4,), 0.3), torch.full((4,), 0.2))  # type: ignore[operator]
    path = tmp_path / "step_00000001"
    save_checkpoint(path, model, average, NORMALIZER, {"rng": torch.arange(3)}, {"step": 7, "x": 3})
    export_average(path, tmp_path / "small")
    whole, small = (load_model(folder, use_ema=True) for folder in (path, tmp_path / "small"))
    torch.testing.assert_close(output(small.model), output(whole.model), rtol=5e-3, atol=5e-3)
    assert not torch.equal(output(small.model), output(whole.model))
    assert next(small.model.parameters()).dtype == torch.float32
    assert torch.equal(small.normalizer.low, whole.normalizer.low)
    for name, buffer in whole.model.named_buffers():
        assert torch.equal(small.model.get_buffer(name), buffer)
    assert small.description["x"] == 3
    assert small.description["trained_with"]["versions"] == whole.description["versions"]
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in (path, tmp_path / "small")]
    assert sizes[1] < sizes[0] / 2
    with pytest.raises(InputError, match="small holds only the moving average of the weights: pass --use_ema true"):
        load_model(tmp_path / "small")


def test_an_export_of_an_export_is_the_same_and_keeps_the_versions_of_the_training(tmp_path: Path) -> None:
    path = save(tmp_path / "step_00000001", make_gpt(1))
    change(path, versions={"torch": "1.0"}, git_revision="abc")
    export_average(path, tmp_path / "small", {"command": "train"})
    export_average(tmp_path / "small", tmp_path / "again")
    small, again = (load_model(tmp_path / name, use_ema=True) for name in ("small", "again"))
    assert torch.equal(output(again.model), output(small.model))
    assert again.description == small.description
    assert small.description["trained_with"] == {"versions": {"torch": "1.0"}, "git_revision": "abc"}
    assert small.description["command"] == "train"


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    assert {Path(name).suffix for name in contents(save(tmp_path / "step_1"))} == {".safetensors", ".json"}


def test_the_hash_names_the_weights_and_the_description(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a"), save(tmp_path / "b"), save(tmp_path / "c", make_gpt(3)), save(tmp_path / "d", x=1)]
    hashes = [load_model(path).hash for path in paths]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_the_training_state_is_read_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1")
    state = read_tensors(path, "training.safetensors", read_description(path))
    assert torch.equal(state["rng"], torch.arange(3))


# -- atomic writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_files", range(5))
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_failure_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_files: int, error: BaseException
) -> None:
    """After any number of written files; the last failure is when the folder is put in its place."""
    written = 0

    def fail_later(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            nonlocal written
            if written == n_files:
                raise error
            written += 1
            return write(*arguments)

        return wrapped

    monkeypatch.setattr(checkpoint, "save_file", fail_later(checkpoint.save_file))
    monkeypatch.setattr(Path, "rename", fail_later(Path.rename))
    with pytest.raises(CheckpointError if isinstance(error, OSError) else type(error)):
        save(tmp_path / "run" / "step_1")
    assert list((tmp_path / "run").iterdir()) == []
    monkeypatch.undo()
    load_model(save(tmp_path / "run" / "step_1"))


def test_what_a_killed_process_left_is_neither_found_nor_in_the_way(tmp_path: Path) -> None:
    kept = save(tmp_path / checkpoint_name(3))
    left = tmp_path / f".{checkpoint_name(6)}.writing"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert find_checkpoint(tmp_path) == kept
    load_model(save(tmp_path / checkpoint_name(6)))
    assert not left.exists()


@pytest.mark.parametrize("n_renames", [0, 1])
def test_a_checkpoint_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_renames: int
) -> None:
    path = save(tmp_path / checkpoint_name(3))
    before, rename, calls = contents(path), Path.rename, []

    def refuse(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == n_renames + 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointError, match="cross-device"):
        save(path, replaces=True, more=1)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert contents(path) == before
    assert read_description(save(path, replaces=True, more=1))["more"] == 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_is_given_back_after_a_kill_while_it_was_replaced(tmp_path: Path) -> None:
    path = save(tmp_path / checkpoint_name(3))
    before = contents(path)
    left = tmp_path / f".{path.name}.replaced"
    path.rename(left)
    restore_replaced(tmp_path)
    assert contents(path) == before
    shutil.copytree(path, left)  # killed after the second renaming
    restore_replaced(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


# -- finding -------------------------------------------------------------------------------------------------


def test_the_latest_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    for step in (9, 100_000_000, 10):
        save(tmp_path / checkpoint_name(step))
    assert find_checkpoint(tmp_path) == tmp_path / checkpoint_name(100_000_000)
    assert find_checkpoint(tmp_path, 9) == find_checkpoint(tmp_path, "9") == tmp_path / checkpoint_name(9)
    assert find_checkpoint(tmp_path / checkpoint_name(10)) == tmp_path / checkpoint_name(10)


@pytest.mark.parametrize("step", ["5", "last", "-1", "1.5", ""])
def test_a_step_without_a_checkpoint_is_refused_and_the_steps_there_are_named(tmp_path: Path, step: str) -> None:
    save(tmp_path / checkpoint_name(9))
    with pytest.raises(InputError, match=r"\[9\]"):
        find_checkpoint(tmp_path, step)


def test_a_folder_without_checkpoints_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "step_later").mkdir()
    with pytest.raises(InputError, match=str(tmp_path)):
        find_checkpoint(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        load_model(tmp_path / "nowhere")


# -- damage --------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, empty, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "normalizer.safetensors"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None], name: str) -> None:
    path = save(tmp_path / "step_1")
    damage(path / name)
    before = contents(path)
    with pytest.raises(InputError, match=name):
        load_model(path)
    assert contents(path) == before


@pytest.mark.parametrize("damage", [truncate, flip, empty, Path.unlink])
def test_a_damaged_average_matters_where_it_is_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = save(tmp_path / "step_1")
    damage(path / "ema.safetensors")
    load_model(path)
    with pytest.raises(InputError, match=r"ema\.safetensors"):
        load_model(path, use_ema=True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"step": 7}', '{"format": 1}', '{"format": 1, "files": 2}']
)
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    path = save(tmp_path / "step_1")
    (path / "checkpoint.json").write_text(text)
    with pytest.raises(InputError, match="step_1"):
        load_model(path)


def change(path: Path, **changes: Any) -> None:
    with edited(path) as description:
        description.update(changes)


def test_another_format_is_refused_by_number(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1")
    change(path, format=99)
    with pytest.raises(InputError, match="99"):
        load_model(path)


@pytest.mark.parametrize(
    "changes", [{"observation_size": 2}, {"n_layer": 2}, {"n_bins": 9}, {"n_embd": 0}, {"form": 1}, {"n_head": "two"}]
)
def test_weights_that_do_not_fit_the_form_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = save(tmp_path / "step_1")
    change(path, model={**read_description(path)["model"], **changes})
    with pytest.raises(InputError):
        load_model(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("adacat", "head is 'adacat', not a dictionary"),
        ({"n_bins": 4}, "not a dictionary with a 'name'"),
        ({"name": "gauss"}, "must be one of adacat, .*, got 'gauss'"),
        ({"name": "adacat", "n_bins": "4"}, "n_bins is '4', which is not of type int"),
        ({"name": "adacat", "n_bin": 4}, "has no setting 'n_bin': did you mean n_bins"),
    ],
)
def test_a_damaged_head_is_named(tmp_path: Path, head: Any, message: str) -> None:
    path = save(tmp_path / "step_1")
    change(path, model={**read_description(path)["model"], "head": head})
    with pytest.raises(InputError, match=f"step_1 does not fit this version's model: .*{message}"):
        load_model(path)


TRAINED = {
    "parameterization": "adacat",
    "discount": 0.99,
    "train_seed": 0,
    "dataset": {"name": "own", "sha256": "a", "verified": False, "environment": None, "mean_return": 1.0},
    "training": {},
}


def test_what_the_train_command_wrote_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1", **TRAINED)
    assert read_training(path) == read_description(path)


@pytest.mark.parametrize(
    ("key", "value"), [*((key, None) for key in TRAINED), ("step", "7"), ("dataset", {"name": "own"})]
)
def test_what_the_train_command_did_not_write_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = save(tmp_path / "step_1", **{**TRAINED, key: value})
    with pytest.raises(InputError, match=f"step_1 lacks .*{key}"):
        read_training(path)


# -- older formats -------------------------------------------------------------------------------------------

FORMAT_1 = Path(__file__).parent / "fixtures" / "format1"


@pytest.mark.parametrize("name", ["adacat", "quantile"])
@pytest.mark.parametrize("use_ema", [False, True])
def test_a_checkpoint_of_format_1_predicts_as_it_did(name: str, use_ema: bool) -> None:
    """`fixtures/format1` was written, and its expected quantiles computed, by the last version of that format."""
    model = load_model(FORMAT_1 / name, use_ema).model.double()
    tokens = torch.linspace(0.05, 0.95, 20).reshape(1, 20).double()
    expected = json.loads((FORMAT_1 / "expected.json").read_text())[f"{name} ema={use_ema}"]
    quantiles = model(tokens).icdf(torch.full((1, 20), 0.3, dtype=torch.float64))
    torch.testing.assert_close(quantiles[0], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["adacat", "quantile"])
def test_a_checkpoint_of_format_1_has_todays_settings(name: str) -> None:
    """What it recorded flat is what today's settings record nested; its positions started normal, as all did."""
    flat = json.loads((FORMAT_1 / name / "checkpoint.json").read_text())["training"]
    settings = read_description(FORMAT_1 / name)["training"]
    assert settings.pop("dataset") == "own"
    assert from_nested(TrainConfig, settings) == build(TrainConfig, {**flat, "offset_init": "normal"})
