"""Results of density models as lines of JSON."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, DensityResult, load_density_results

RESULT = DensityResult(
    experiment="tabular",
    dataset="casp",
    form="adacat",
    seed=0,
    nll=1.5,
    validation_nll=1.25,
    unit="nats per row",
    n_parameters=10,
    n_outputs=None,
    n_steps=3,
    seconds={"wall": 1.0, "cpu": 0.5},
    settings={"k": 4},
    data={"sha256": "0"},
    versions={"torch": "2"},
    git_revision=None,
    measures={},
)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "a" / "b")
    assert load_density_results([tmp_path]) == [RESULT]


def test_a_result_replaces_that_of_the_same_training_alone(tmp_path: Path) -> None:
    others = [replace(RESULT, seed=1), replace(RESULT, settings={"k": 5}), replace(RESULT, dataset="ccpp")]
    for result in (RESULT, *others, replace(RESULT, nll=0.5)):
        result.save(tmp_path)
    assert load_density_results([tmp_path]) == [*others, replace(RESULT, nll=0.5)]


def test_an_older_result_has_the_samples_of_its_time(tmp_path: Path) -> None:
    path = replace(RESULT, experiment="audio").save(tmp_path)
    values = json.loads(path.read_text())
    del values["sampling"]
    path.write_text(json.dumps(values))
    (result,) = load_density_results([tmp_path])
    assert result.sampling == {"n_clips": 4, "clip_seconds": 0.5}


def test_other_samples_of_the_same_training_replace_its_result(tmp_path: Path) -> None:
    other = replace(RESULT, sampling={"n_samples": 3})
    for result in (RESULT, other):
        result.save(tmp_path)
    assert load_density_results([tmp_path]) == [other]


def test_processes_that_share_a_folder_lose_no_result(tmp_path: Path) -> None:
    def save(first: int) -> None:
        for seed in range(first, first + 20):
            replace(RESULT, seed=seed).save(tmp_path)

    processes = [multiprocessing.get_context("fork").Process(target=save, args=(first,)) for first in (0, 20, 40)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(result.seed for result in load_density_results([tmp_path])) == list(range(60))
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS_FILE]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nll": "low"}, "'nll'"),
        ({"extra": 1}, "extra"),
        ({"seed": None}, "'seed'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = RESULT.save(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=f"{RESULTS_FILE}:1.*{message}"):
        load_density_results([tmp_path])


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[" * 100_000, b"\x00\n"], ids=range(3))
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "density.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"density\.jsonl"):
        load_density_results([tmp_path])


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no density results"):
        load_density_results([tmp_path])


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(RESULT, nll=float("nan")).save(tmp_path)
