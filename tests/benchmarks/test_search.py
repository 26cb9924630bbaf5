"""The ladder has a row for each way to plan, with the results of the plan command, and goes on where it stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, load_results

MakeTraining = Callable[..., Path]
NONE = ["--horizons", "--beam_widths", "--cdf_acts", "--drop_acts"]  # the preset and no search alone
FEW = ["--horizons", "1", "--beam_widths", "2", "--cdf_acts", "0.8", "--drop_acts", "0.6"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def flags(*checkpoints: Path, factors: Sequence[str] = NONE) -> list[str]:
    return ["--checkpoint", *map(str, checkpoints), *factors, "--n_rollouts", "2", "--max_length", "3"]


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table's rows, by name."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in found[1:]}


def results(row: str) -> list[RolloutResult]:
    return list(load_results(Path("search").glob(f"*/{row}")).values())


@pytest.mark.slow
def test_each_way_to_plan_has_a_row(make_training: MakeTraining, capsys: pytest.CaptureFixture[str]) -> None:
    search.main(flags(make_training(), factors=FEW))
    # The preset has 2 beams and no cutoff: those rows are the preset's.
    without = ["no search, sample", "no search, likeliest bin", "no search, mean"]
    assert list(rows(capsys.readouterr().out)) == [*without, "preset", "horizon 1", "cdf_act 0.8", "drop_act 0.6"]
    sample, preset = (results(row)[0].planner["search"] for row in ("no_search-sample", "preset"))
    changed = {name: value for name, value in sample.items() if value != preset[name]}
    assert changed == {"horizon": 1, "beam_width": 1, "n_expand": 1}
    assert results("no_search-likeliest_bin")[0].planner["search"] == {**sample, "k_act": 1}
    assert results("no_search-mean")[0].planner["search"] == {**sample, "sampling": "mean"}
    assert results("drop_act_0.6")[0].planner["search"] == {**preset, "drop_act": 0.6}
    assert results("cdf_act_0.8")[0].planner["search"] == {**preset, "cdf_act": 0.8}
    assert [(r.rollout_seed, r.length) for r in results("preset")] == [(100, 3), (101, 3)]


@pytest.mark.slow
def test_outputs_without_bins_have_no_cutoffs(make_training: MakeTraining, capsys: pytest.CaptureFixture[str]) -> None:
    search.main(flags(make_training(parameterization="logistic_mixture"), factors=FEW))
    names = ["no search, sample", "no search, mean", "preset", "horizon 1"]
    assert list(rows(capsys.readouterr().out)) == names


@pytest.mark.slow
def test_a_row_is_over_the_trainings(make_training: MakeTraining, capsys: pytest.CaptureFixture[str]) -> None:
    search.main(flags(make_training(0), make_training(1)))
    cells = rows(capsys.readouterr().out)["preset"]
    returns = np.array([[r.return_ for r in results("preset") if r.train_seed == seed] for seed in (0, 1)])
    means = returns.mean(1)
    assert cells[:2] == ["3", "2 x 2"]
    assert cells[2] == f"{means.mean():.5g} ± {means.std(ddof=1) / np.sqrt(2):.3g}"
    assert cells[3] == f"{returns.min():.4g} to {returns.max():.4g}"


def test_only_missing_rows_are_planned(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training()
    search.main(flags(training))
    first = rows(capsys.readouterr().out)
    (path,) = Path("search").glob("*/preset/*/rollouts.jsonl")
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    planned: list[str] = []
    original = search.plan.main

    def watched(argv: list[str]) -> None:
        planned.append(argv[argv.index("--exp_name") + 1])
        original(argv)

    monkeypatch.setattr(search.plan, "main", watched)
    search.main(flags(training))
    assert planned == ["preset"]
    again = rows(capsys.readouterr().out)
    assert {name: cells[:-1] for name, cells in again.items()} == {name: cells[:-1] for name, cells in first.items()}
    search.main([*flags(training), "--max_length", "2"])  # other settings: nothing of the old results counts
    assert len(planned) == 1 + len(first)


@pytest.mark.slow
def test_a_critic_adds_rows_that_it_scores(
    make_training: MakeTraining, make_critic: MakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    factors = ["--critic_horizons", "1", "3", "--candidates", "2", "4", "16", "--aggregates", "min", "mean"]
    trainings, critics = (make_training(0), make_training(1)), (make_critic(0), make_critic(1))
    search.main([*flags(*trainings), "--critic", *map(str, critics), *factors])
    found = rows(capsys.readouterr().out)
    without = ["no search, sample", "no search, likeliest bin", "no search, mean", "preset"]
    # With a critic the preset plans one step with 4 candidates: those rows are the preset's.
    guided = ["critic", "critic, horizon 3", "critic, 2 candidates", "critic, 16 candidates", "critic, mean"]
    assert list(found) == [*without, *guided]
    shapes = [["1", "2 x 2"], ["3", "2 x 2"], ["1", "1 x 2"], ["1", "8 x 2"], ["1", "2 x 2"]]
    assert [found[name][:2] for name in guided] == shapes
    scorings = {name: {r.planner["scoring"]["name"] for r in results(name)} for name in ("preset", "critic")}
    assert scorings == {"preset": {"values"}, "critic": {"critic"}}
    assert results("critic-mean")[0].planner["scoring"] == {"name": "critic", "critic_aggregate": "mean"}
    assert len({r.checkpoint["hash"] for r in results("critic")}) == 2
    assert results("critic")[0].planner["critic"] == {"expectile": 0.7, "step": 1}


def test_critics_that_are_not_those_of_the_trainings_are_refused(
    make_training: MakeTraining, make_critic: MakeTraining
) -> None:
    trained, fitting = make_training(), str(make_critic())
    for wrong, message in (
        ([fitting, fitting], "--critic must name a critic of each of the 1 trainings"),
        ([str(make_critic(discount=0.5))], r"discount is 0\.5"),
        ([fitting, "--candidates", "4", "5"], "--candidates must be even"),
    ):
        with pytest.raises(InputError, match=message):
            search.main([*flags(trained), "--critic", *wrong])
    assert not Path("search").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [(["--seed", "-1"], "--seed"), (["--n_rollouts", "0"], "--n_rollouts"), (["--horizons", "0"], "horizon")],
)
def test_senseless_flags_are_refused(make_training: MakeTraining, changes: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        search.main([*flags(make_training()), *changes])
    assert not Path("search").exists()


def test_trainings_that_cannot_share_a_row_are_refused(make_training: MakeTraining) -> None:
    one = make_training()
    for others in ([one], [make_training(parameterization="logistic_mixture")], [make_training(1, sha256="other")]):
        with pytest.raises(InputError, match="--checkpoint must name different trainings"):
            search.main(flags(one, *others))
