"""The table of likelihoods by number of steps: what is run, what is kept, and what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import likelihood
from benchmarks.likelihood import GROUPS, Job, draw, main, markdown, read_records
from trajectory_adacat.errors import InputError

from ..scripts.conftest import write_file


def record(dataset: str, form: str, steps: int, seed: int, value: float) -> dict[str, Any]:
    scores = {"ema": dict.fromkeys(GROUPS, value), "raw": dict.fromkeys(GROUPS, 0.0)}
    return {**Job(dataset, form, steps, seed)._asdict(), **scores, "behavior_action": -1.5}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Record the trainings instead of running them."""
    jobs: list[Job] = []

    def run(job: Job, preset: str, logbase: str, device: str) -> dict[str, Any]:
        jobs.append(job)
        if job.form == "failing":
            raise InputError("it failed")
        return {**record(*job, value=-float(job.steps)), "flags": job.flags(preset)}

    monkeypatch.setattr(likelihood, "run", run)
    return jobs


def test_finished_trainings_are_kept_and_only_missing_ones_run(tmp_path: Path, trained: list[Job]) -> None:
    flags = ["--datasets", "a", "--forms", "uniform", "quantile", "--out", str(tmp_path)]
    main([*flags, "--steps", "10"])
    assert trained == [Job("a", "uniform", 10, 100), Job("a", "quantile", 10, 100)]
    main([*flags, "--steps", "20", "10", "--seeds", "100", "101"])
    assert trained[2:4] == [Job("a", "uniform", 10, 101), Job("a", "quantile", 10, 101)]
    assert len(trained) == 8
    lines = (tmp_path / "likelihood.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_records(tmp_path / "likelihood.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("likelihood.jsonl", "likelihood.md", "likelihood.png", "likelihood_by_group.png")
    }


@pytest.mark.slow
def test_the_same_training_with_another_preset_is_another(tmp_path: Path, trained: list[Job]) -> None:
    flags = ["--datasets", "a", "--forms", "uniform", "--steps", "10", "--out", str(tmp_path)]
    main([*flags, "--preset", "demo"])
    main([*flags, "--preset", "cpu"])
    assert len(trained) == 2


def test_a_failure_is_reported_after_the_others_have_run(
    tmp_path: Path, trained: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(likelihood.FORMS, "failing", [])
    with pytest.raises(InputError, match="it failed"):
        main(["--datasets", "a", "--forms", "failing", "uniform", "--steps", "10", "--out", str(tmp_path)])
    assert [found["form"] for found in read_records(tmp_path / "likelihood.jsonl")] == ["uniform"]


@pytest.mark.slow
def test_a_training_leaves_its_record_and_goes_on_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "tiny.py"
    presets = {"tiny": {"train": {"subsampled_sequence_length": 2, "batch_size": 8}}}
    config.write_text(f"PRESETS = {presets}\nDEFAULT_PRESETS = {{'*': 'tiny'}}\n")
    data = write_file(tmp_path / "own.hdf5", (9, 8, 7, 6))
    form = ["--n_layer", "1", "--n_head", "1", "--n_embd", "4", "--n_bins", "4"]
    monkeypatch.setitem(likelihood.FORMS, "tiny", [*form, "--config", str(config), "--dataset_path", str(data)])
    done = likelihood.run(Job("own", "tiny", 3, 0), "tiny", str(tmp_path / "logs"), "cpu")
    assert set(done["ema"]) == set(GROUPS)
    assert done["seconds_per_step"] > 0
    # goes on from its last step
    again = likelihood.run(Job("own", "tiny", 3, 0), "tiny", str(tmp_path / "logs"), "cpu")
    assert again["ema"] == done["ema"]
    with pytest.raises(InputError, match="failed"):
        likelihood.run(Job("missing-dataset", "uniform", 3, 0), "tiny", str(tmp_path / "logs"), "cpu")


def test_an_unknown_form_and_an_empty_file_are_refused(tmp_path: Path, trained: list[Job]) -> None:
    with pytest.raises(InputError, match="'gaussian' is unknown"):
        main(["--forms", "gaussian", "--out", str(tmp_path)])
    with pytest.raises(InputError, match="no finished training"):
        main(["--draw_only", "true", "--out", str(tmp_path)])
    assert trained == []


def test_the_table_averages_over_seeds_and_ends_with_the_behaviour() -> None:
    records = [record("a", "uniform", 10, 0, -1.0), record("a", "uniform", 10, 1, -2.0)]
    lines = markdown(records).splitlines()
    assert lines[2] == "| a | 10 | uniform | 2 | -1.50 | -1.50 | -1.50 | -1.50 | -1.50 |"
    assert lines[3].split("|")[6].strip() == "-1.50"
    assert len(lines) == 4


def test_the_figure_has_a_line_for_each_form_and_the_behaviour_beside_the_actions() -> None:
    records = [record("a", form, steps, 0, -1.0) for form in ("uniform", "quantile") for steps in (10, 20)]
    figure = draw(records, ("action", "all"))
    action, everything = figure.axes
    assert [line.get_label() for line in everything.lines] == ["uniform", "quantile"]
    assert len(action.lines) == 3
    assert list(everything.lines[0].get_xdata()) == [10, 20]
