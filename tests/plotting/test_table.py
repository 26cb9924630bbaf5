"""The table command, from results files to text, Markdown, LaTeX and CSV."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.plotting.table import Layout, main, tabulate

RETURNS = {"adacat": [2000.0, 2100.0, 2200.0, 2300.0], "uniform": [1500.0, 1500.0, 1500.0, 1500.0]}


def save(folder: Path, dataset: str, parameterization: str, seed: int, return_: float, **changes: Any) -> None:
    values: dict[str, Any] = {
        "data_status": "verified",
        "environment": {"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
        "references": {},
        "checkpoint": {"hash": "a"},
        **changes,
    }
    RolloutResult(
        dataset=dataset,
        parameterization=parameterization,
        train_seed=seed // 2,
        rollout_seed=seed,
        return_=return_,
        normalized_score=normalized_score(dataset, return_),
        length=1000,
        terminated=False,
        truncated=True,
        planner={"horizon": 15},
        versions={},
        git_revision=None,
        seconds_per_action=0.1,
        **values,
    ).save(folder / dataset.replace(":", "-") / parameterization / values["data_status"])


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for parameterization, returns in RETURNS.items():
        for seed, return_ in enumerate(returns):
            save(tmp_path, "hopper-medium-v2", parameterization, seed, return_)
    return tmp_path


def expected(parameterization: str) -> tuple[float, float]:
    scores = [normalized_score("hopper-medium-v2", value) or 0.0 for value in RETURNS[parameterization]]
    first, second = (scores[0] + scores[1]) / 2, (scores[2] + scores[3]) / 2  # the means of the two trainings
    return (first + second) / 2, abs(first - second) / 2


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_mean_standard_error_and_n(logs: Path, form: str) -> None:
    table = tabulate([logs], form)
    mean, error = expected("adacat")
    cell = f"{mean:.1f} ± {error:.1f} (2 trainings x 2)"
    assert cell.replace("±", r"$\pm$" if form == "latex" else "±") in table
    assert "69.2" in table  # the paper's number for this dataset
    assert "Table 4" in table  # and its source
    assert "IQM" in table


def test_csv_holds_the_unrounded_numbers(logs: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(tabulate([logs], "csv"))))
    measured = {line["method"]: line for line in lines if line["kind"] == "measured"}
    mean, error = expected("adacat")
    assert float(measured["adacat"]["mean"]) == pytest.approx(mean)
    assert float(measured["adacat"]["standard_error"]) == pytest.approx(error)
    assert (
        float(measured["adacat"]["iqm_low"]) < float(measured["adacat"]["iqm"]) < float(measured["adacat"]["iqm_high"])
    )
    assert float(measured["adacat"]["mean_low"]) < float(measured["adacat"]["mean"])
    assert (measured["uniform"]["n"], measured["uniform"]["trainings"]) == ("4", "2")
    published = {line["method"]: line for line in lines if line["kind"] == "published"}
    assert published["AdaCat"]["mean"] == "69.2"
    assert all(line["source"] for line in published.values())


def test_csv_holds_the_comparison_and_the_likelihood(tmp_path: Path) -> None:
    for seed in range(4):
        save(tmp_path, "hopper-medium-v2", "adacat", seed, 2000.0, checkpoint={"hash": "a", "held_out_nll": -4.25})
        save(tmp_path, "hopper-medium-v2", "uniform", seed, 1500.0)
    lines = csv.DictReader(io.StringIO(tabulate([tmp_path], "csv")))
    measured = {line["method"]: line for line in lines if line["kind"] == "measured"}
    assert measured["adacat"]["held_out_nll"] == "-4.25"
    assert measured["adacat"]["opponent"] == measured["uniform"]["held_out_nll"] == ""
    assert measured["uniform"]["opponent"] == "adacat"
    assert [float(measured["uniform"][f"opponent_better{end}"]) for end in ("", "_low", "_high")] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_both_layouts_show_the_same_numbers(logs: Path, layout: Layout) -> None:
    save(logs, "hopper-medium-v2", "quantile", 0, 1500.0, checkpoint={"hash": "a", "held_out_nll": -4.25})
    table = tabulate([logs], layout=layout)
    mean, error = expected("adacat")
    for cell in (
        f"{mean:.1f} ± {error:.1f} (2 trainings x 2)",
        "1.00 [1.00, 1.00]",
        "-4.250",
        "69.2",
        "P(AdaCat higher)",
    ):
        assert cell in table, cell


def test_many_methods_stand_one_below_another(logs: Path) -> None:
    for i in range(3):
        save(logs, "hopper-medium-v2", f"method{i}", 0, 1500.0)
    lines = tabulate([logs], published="none").splitlines()
    assert lines[1].split()[:3] == ["dataset", "measure", "method"]
    assert [line.split()[0] for line in lines[4:8]] == ["adacat", "method0", "method1", "method2"]


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv"])
def test_small_returns_are_shown_in_every_format(tmp_path: Path, form: str) -> None:
    for seed, (adacat, uniform) in enumerate([(0.0125, 0.0415), (0.0135, 0.0425)]):
        references = {"dataset mean": 0.021}
        save(tmp_path, "own.hdf5", "adacat", seed, adacat, references=references)
        save(tmp_path, "own.hdf5", "uniform", seed, uniform, references=references)
    table = tabulate([tmp_path], form)
    expected = ["adacat,0.013", "0.021"] if form == "csv" else ["0.01300 ± 0.00050", "0.04200 ± 0.00050", "0.021"]
    for cell in expected:
        assert cell.replace("±", r"$\pm$" if form == "latex" else "±") in table


def test_one_training_is_said_and_its_error_is_not_the_methods(tmp_path: Path) -> None:
    for seed in range(2):  # of train_seed 0
        save(tmp_path, "hopper-medium-v2", "adacat", seed, 1500.0 + seed)
    table = tabulate([tmp_path])
    assert "score, mean ± SE over rollouts of one training" in table
    assert "(one training x 2)" in table
    assert "They say nothing about another training" in " ".join(table.split())
    assert "mean [95%]" not in table


def test_several_trainings_have_intervals_of_mean_and_iqm(logs: Path) -> None:
    table = tabulate([logs])
    assert "score, mean ± SE over trainings" in table
    assert "score, mean [95%]" in table
    assert "score, IQM [95%]" in table
    assert "one training" not in table


def test_columns_with_one_and_with_several_trainings_are_told_apart(logs: Path) -> None:
    save(logs, "hopper-medium-v2", "quantile", 0, 1500.0)
    table = tabulate([logs])
    assert "score, mean ± SE " in table
    assert "SE over" not in table
    assert "(one training x 1)" in table
    assert "(2 trainings x 2)" in table


def test_trainings_with_unequal_numbers_of_rollouts_are_counted(tmp_path: Path) -> None:
    for seed in range(3):
        save(tmp_path, "hopper-medium-v2", "adacat", seed, 1500.0 + seed)
    assert "(2 trainings, 3 rollouts)" in tabulate([tmp_path])


def test_other_data_and_environments_are_explained(logs: Path) -> None:
    save(logs, "hopper-medium-v2", "adacat", 9, 1.0, environment={"environment": "Hopper-v5", "dynamics": "native"})
    table = tabulate([logs])
    assert "hopper-medium-v2 (in Hopper-v5)" in table
    assert "in <environment>: not the dataset's own environment" in table


def test_the_same_files_give_the_same_table(logs: Path) -> None:
    assert tabulate([logs]) == tabulate([logs])


def test_published_scores_are_not_shown_for_collected_data(tmp_path: Path) -> None:
    save(tmp_path, "hopper-medium-collected", "adacat", 0, 1800.0, references={"dataset mean": 1259.0})
    table = tabulate([tmp_path], published="all")
    assert "69.2" not in table
    assert "published" not in table
    assert "hopper-medium-v2" not in table
    assert "dataset mean" in table
    assert f"{normalized_score('hopper-medium-collected', 1259.0):.1f}" in table


def test_unverified_data_and_native_dynamics_are_labelled(logs: Path) -> None:
    save(logs, "hopper-medium-v2", "adacat", 0, 1.0, data_status="unverified")
    save(
        logs / "other",
        "hopper-medium-v2",
        "adacat",
        0,
        1.0,
        environment={"environment": "Hopper-v4", "dynamics": "native"},
    )
    table = tabulate([logs])
    assert "hopper-medium-v2 (unverified)" in table
    assert "hopper-medium-v2 (native dynamics)" in table
    assert f"{expected('adacat')[0]:.1f}" in table  # the verified runs are still a separate row


def test_returns_are_shown_where_no_score_is_known(tmp_path: Path) -> None:
    save(tmp_path, "minari:hopper", "adacat", 0, 912.34)
    table = tabulate([tmp_path])
    assert "return, mean" in table
    assert "912.3 (one training x 1)" in table


@pytest.mark.parametrize(
    ("ending", "marker"), [("md", "| --- |"), ("tex", r"\toprule"), ("csv", "dataset,"), ("txt", "-+-")]
)
def test_the_command_writes_by_the_ending(
    logs: Path, capsys: pytest.CaptureFixture[str], ending: str, marker: str
) -> None:
    out = logs / "tables" / f"table.{ending}"
    main([str(logs), "--out", str(out)])
    assert marker in out.read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"{out}\n"


def test_the_command_prints_and_reads_logs_by_default(
    logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "logs").mkdir()
    (logs / "hopper-medium-v2").rename(logs / "logs" / "hopper-medium-v2")
    monkeypatch.chdir(logs)
    main(["--format", "markdown", "--published", "none"])
    printed = capsys.readouterr().out
    assert printed.startswith("| dataset |")
    assert "published" not in printed


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        main([str(tmp_path / "nowhere")])


def test_a_place_that_cannot_be_written_is_named(logs: Path) -> None:
    with pytest.raises(InputError, match="--out"):
        main([str(logs), "--out", str(logs)])
