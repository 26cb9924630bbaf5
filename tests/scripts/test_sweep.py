"""The sweep command: its jobs, what it takes for done, its table, and its exit."""

import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import sweep
from trajectory_adacat.sweep.building import Builder
from trajectory_adacat.sweep.estimate import Estimator
from trajectory_adacat.sweep.jobs import Job

Write = Callable[..., Path]
SIZES = {"n_layer": 1, "n_head": 1, "n_embd": 4, "subsampled_sequence_length": 3, "batch_size": 8, "n_saves": 2}
TRAIN = {**SIZES, "n_steps": 4, "log_freq": 1, "holdout_fraction": 0.25, "environment": "hopper-medium-v2"}
CRITIC = {"hidden_size": 8, "n_steps": 4, "mc_steps": 2}
PLAN = {"max_episode_length": 2, "horizon": 2, "max_context_transitions": 2}


def words(path: Path, plan: Sequence[str] = (), critic: bool = False, **train: object) -> list[str]:
    """Flags of a tiny sweep named ``tiny``."""
    settings = {"dataset_path": path, "n_bins": 4, **TRAIN, **train}
    flags = ["--name", "tiny", "--datasets", "own", "--rollouts", "2", "--processes", "1"]
    flags += ["--train", *(f"{name}={value}" for name, value in settings.items())]
    flags += ["--plan", *(f"{name}={value}" for name, value in PLAN.items()), *plan]
    return flags + (["--critic", *(f"{name}={value}" for name, value in CRITIC.items())] if critic else [])


def make_jobs(flags: Sequence[str]) -> list[Job]:
    config = sweep.SweepArguments().parse(flags).sweep()
    return Builder(config, sweep.commands(), sweep.data_command, Estimator(Path("logs"))).jobs()


def run(job: Job) -> None:
    """Run a job in this process."""
    _, module, *argv = job.resumed_command()
    importlib.import_module(module).main(argv)


@pytest.fixture
def data(write_dataset: Write) -> Path:
    """A file of hopper's sizes."""
    return write_dataset(9, 8, 7, 6, sizes=(11, 3))


def test_jobs_are_done_once_their_output_is_whole(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = words(data, ["scoring=values,critic"], critic=True)
    jobs = make_jobs(flags)
    assert [job.kind for job in jobs] == ["train", "plan", "critic", "plan"]
    for job in jobs:
        assert not job.is_done(), job.name
        run(job)
        assert job.is_done(), job.name
    sweep.main(flags)
    shown = capsys.readouterr()
    assert "4 of 4 jobs are done; none is left" in shown.err
    assert "own.hdf5" in shown.out
    assert len(shown.out.splitlines()) > 4
    assert Path("logs/sweeps/tiny/table.md").read_text().startswith("|")


def test_jobs_are_checked_though_the_source_code_changes_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(words(data, ["scoring=values,critic"], critic=True))

    def changed(*_: object) -> None:
        raise OSError("source code not available")

    monkeypatch.setattr(inspect, "findsource", changed)  # where Tap reads the comments of flags
    assert not any(job.is_done() for job in jobs)


def test_plans_of_a_flag_that_the_training_shares_are_told_apart(data: Path) -> None:
    jobs = make_jobs(words(data, ["precision=float32,bfloat16"], precision="float32"))
    commands = [job.command for job in jobs if job.kind == "plan"]
    assert [[word for word in command if word.startswith("--precision")] for command in commands] == [
        ["--precision=float32"],
        ["--precision=bfloat16"],
    ]


def test_a_damaged_or_shorter_output_is_not_done(data: Path) -> None:
    train, plan = make_jobs(words(data))
    run(train)
    run(plan)
    assert plan.folder is not None
    assert train.folder is not None
    results = plan.folder / "rollouts.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text(lines[0])
    assert not plan.is_done()
    other = json.loads(lines[1])
    other["planner"]["search"]["beam_width"] = 77
    results.write_text(lines[0] + json.dumps(other) + "\n")
    assert not plan.is_done()
    results.write_text("".join(lines))
    assert plan.is_done()
    longer, planned = make_jobs(words(data, n_steps=6))
    assert not longer.is_done()
    run(longer)  # goes on from the shorter training's last step
    assert longer.is_done()
    assert not planned.is_done()  # its results are of another checkpoint
    weights = max(train.folder.glob("step_*")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert not longer.is_done()
    run(longer)  # from the checkpoint before the damaged one
    assert longer.is_done()


def test_a_plan_that_was_killed_does_the_rollouts_that_are_left(data: Path) -> None:
    train, plan = make_jobs(words(data))
    run(train)
    run(plan)
    assert plan.folder is not None
    results = plan.folder / "rollouts.jsonl"
    first, second = results.read_text().splitlines(keepends=True)
    results.write_text(first + second[:50])  # killed while it wrote
    run(plan)
    kept, again = results.read_text().splitlines(keepends=True)
    assert kept == first  # with the seconds that it took
    assert json.loads(again)["return"] == json.loads(second)["return"]
    other = {**json.loads(second), "checkpoint": {"hash": "of another model"}, "rollout_seed": 2}
    results.write_text(first + second + json.dumps(other) + "\n")
    run(plan)
    assert plan.is_done()


def test_variants_share_what_they_do_not_change(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(
        "[variants.no_search.plan]\nhorizon = 1\n[variants.unsmoothed.train]\nsmooth_start = 'none'\n"
        "[variants.critic.plan]\nscoring = 'critic'\n"
    )
    names = [job.name for job in make_jobs([*words(data), "--file", str(path)])]
    assert names == [
        "train own adacat_0",
        "plan own adacat_0 plan",
        "plan own adacat_0 no_search",
        "train own adacat_unsmoothed_0",
        "plan own adacat_unsmoothed_0 unsmoothed",
        "critic own iql_0",
        "plan own adacat_0 critic",
    ]


@pytest.mark.slow
def test_the_table_names_columns_by_their_variants(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text("[variants.no_search.plan]\nhorizon = 1\nbeam_width = 1\nn_expand = 1\n")
    sweep.main([*words(data), "--file", str(path)])
    shown = capsys.readouterr().out
    assert "adacat  " in shown
    assert "adacat (no_search)" in shown
    assert "held-out NLL" in shown


def test_a_dry_run_prints_the_jobs_and_runs_none(data: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*words(data, n_layer="1,2"), "--seeds", "0", "1", "--parameterizations", "adacat", "--dry_run"]
    sweep.main(flags)
    shown = capsys.readouterr().out
    assert "train own adacat_n_layer-2_1" in shown
    assert "8 jobs (4 train, 4 plan), 0 done, 8 to run" in shown
    assert "0 of these durations rest on steps measured in the folder of logs, 8 on defaults" in shown
    assert not (home / "logs").exists()


@pytest.mark.parametrize(("processes", "shown"), [("1", "with 1 process\n"), ("2", "with 2 processes\n")])
def test_a_dry_run_states_the_number_of_processes(
    data: Path, capsys: pytest.CaptureFixture[str], processes: str, shown: str
) -> None:
    sweep.main([*words(data), "--processes", processes, "--dry_run"])
    assert shown in capsys.readouterr().out


def test_the_preset_on_collected_data_states_its_hours(capsys: pytest.CaptureFixture[str]) -> None:
    sweep.main(["--preset", "table4-collected", "--seeds", "0", "--processes", "2", "--dry_run"])
    shown = capsys.readouterr().out
    assert "51 jobs (3 collect, 9 train, 3 critic, 36 plan), 0 done, 51 to run" in shown
    assert "about 2.1 h with 2 processes" in shown


def test_every_ablation_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    sweep.main(["--preset", "ablations", "--seeds", "0", "--dry_run"])
    assert "21 jobs (1 collect, 5 train, 1 critic, 14 plan)" in capsys.readouterr().out


SEARCH = ("scoring", "horizon", "beam_width", "n_expand", "sampling", "drop_act", "cdf_act", "use_ema")


def test_the_ablations_plan_with_a_critic_that_scores_few_candidates() -> None:
    plans = {
        job.name.split()[-1]: sweep.resolve_plan(job.command[2:], "adacat")
        for job in make_jobs(["--preset", "ablations", "--seeds", "0"])
        if job.kind == "plan"
    }
    base = {name: plans["plan"][name] for name in SEARCH}
    assert base == dict(zip(SEARCH, ("critic", 1, 2, 2, "uniform", 0.0, 0.0, True), strict=True))
    changed = {
        variant: {name: values[name] for name in SEARCH if values[name] != base[name]}
        for variant, values in plans.items()
    }
    assert {variant: values for variant, values in changed.items() if values} == {
        "midpoint": {"sampling": "midpoint"},
        "cutoff_by_count": {"drop_act": 0.6},
        "cutoff_by_mass": {"cdf_act": 0.6},
        "raw_weights": {"use_ema": False},
        **{f"horizon_{horizon}": {"horizon": horizon} for horizon in (3, 5, 15)},
        "value_tokens": {"scoring": "values", "horizon": 3},
        "no_search": {"scoring": "values", "beam_width": 1, "n_expand": 1},
    }


def test_a_critic_is_shared_by_the_parameterizations() -> None:
    jobs = make_jobs(["--preset", "table4-collected", "--datasets", "hopper-medium-collected", "--seeds", "1"])
    critics = [job.name for job in jobs if job.kind == "critic"]
    assert critics == ["critic hopper-medium-collected iql_1"]
    needing = [job.name.split()[2:] for job in jobs if critics[0] in job.needs]
    variants = ("plan", "candidates_8", "candidates_16")
    assert needing == [[f"{name}_1", variant] for name in ("adacat", "uniform", "quantile") for variant in variants]


@pytest.mark.parametrize("preset", ["table4", "table4-annealed"])
def test_the_papers_presets_take_its_settings(preset: str) -> None:
    one_cell = ["--datasets", "hopper-medium-v2", "--parameterizations", "adacat", "--seeds", "4"]
    jobs = {job.name: job for job in make_jobs(["--preset", preset, *one_cell])}
    assert len(jobs) == 3
    train = jobs["train hopper-medium-v2 adacat_4"]
    assert f"--preset={preset}" in train.command
    plan = jobs["plan hopper-medium-v2 adacat_4 plan"]
    assert {f"--preset={preset}", "--n_rollouts=3", "--seed=0"} <= {*plan.command}
    assert plan.needs == ("collect hopper-medium-v2", train.name)


def test_the_critics_preset_trains_a_critic_of_each_seed_and_plans_with_few_candidates() -> None:
    cells = ["--datasets", "halfcheetah-medium-v2", "--parameterizations", "adacat", "uniform", "--seeds", "0", "1"]
    jobs = {job.name: job for job in make_jobs(["--preset", "table4-critic", *cells])}
    assert sum(job.kind == "critic" for job in jobs.values()) == 2  # shared by the parameterizations
    critic = jobs["critic halfcheetah-medium-v2 iql_1"]
    assert "--preset=table4-critic" in critic.command
    plan = jobs["plan halfcheetah-medium-v2 uniform_1 plan"]
    assert {jobs["train halfcheetah-medium-v2 uniform_1"].name, critic.name} <= {*plan.needs}
    wide = {job.name: job for job in make_jobs(["--preset", "table4", *cells])}[plan.name]
    assert plan.seconds < wide.seconds / 5


def test_a_failed_job_is_in_the_exit_and_in_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"1 of 2 jobs failed and 1 that need them were skipped: train own adacat_0"):
        sweep.main(words(tmp_path / "missing.hdf5"))
    (record,) = [json.loads(line) for line in Path("logs/sweeps/tiny/failures.jsonl").read_text().splitlines()]
    assert "missing.hdf5" in record["error"]
    assert record["skipped"] == ["plan own adacat_0 plan"]
    assert "skipped plan own adacat_0 plan" in capsys.readouterr().err


def test_wrong_flags_are_refused_before_the_first_job(data: Path, home: Path) -> None:
    with pytest.raises(InputError, match="no datasets"):
        sweep.main([])
    with pytest.raises(InputError, match="n_layers"):
        sweep.main(words(data, n_layers=2))
    with pytest.raises(InputError, match="'critic' has no effect"):
        sweep.main(words(data, critic=True))
    with pytest.raises(InputError, match="beam_width"):
        sweep.main(words(data, ["beam_width=0"]))
    assert not (home / "logs").exists()
