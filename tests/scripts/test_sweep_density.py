"""The sweep command with density models: its jobs, what it takes for done, its table, samples and failures."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.scripts.conftest import tiny_digits, tiny_table, tiny_voice
from trajectory_adacat.command_line import run_command
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.scripts import sweep
from trajectory_adacat.scripts.density_jobs import PARSERS
from trajectory_adacat.settings import to_nested
from trajectory_adacat.sweep.jobs import Job

ROOT = Path(__file__).parents[2]
SWEEP = Path("logs", "density", "sweeps", "tiny")


class Ended(NamedTuple):
    """A job that has run in this process, with the methods that the runner calls."""

    returncode: int
    pid: None = None

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode

    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def run_here(job: Job, log: Path, environment: Mapping[str, str]) -> Ended:
    """Run a job in this process: a new interpreter would take seconds for its imports."""
    _, module, *argv = job.resumed_command()
    with log.open("w") as output, redirect_stdout(output), redirect_stderr(output):
        try:
            run_command(importlib.import_module(module).main, argv)
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            return Ended(exit_.code)
    return Ended(0)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "start_process", run_here)


def words(experiment: str, dataset: str, tiny: Sequence[str]) -> list[str]:
    """Return the flags of a sweep named ``tiny`` of the flags of a tiny training."""
    train = dict(zip(tiny[::2], tiny[1::2], strict=True))
    left = {name.removeprefix("--"): value for name, value in train.items() if name not in ("--dataset", "--verbose")}
    flags = ["--name", "tiny", "--experiment", experiment, "--datasets", dataset, "--processes", "1"]
    return [*flags, "--verbose", "false", "--train", *(f"{name}={value}" for name, value in left.items())]


def make_jobs(flags: Sequence[str]) -> list[Job]:
    return sweep.make_jobs(sweep.SweepArguments().parse(flags).sweep(), 1)


def lines(name: str) -> list[dict[str, Any]]:
    path = SWEEP / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def table(home: Path) -> list[str]:
    """Flags of a sweep on a tiny table."""
    return words("tabular", "miniboone", tiny_table(home))


def test_a_second_sweep_repeats_no_training(table: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*table, "--parameterizations", "adacat", "uniform", "--seeds", "0", "1"]
    sweep.main(flags)
    shown = capsys.readouterr().out
    assert sum(line.startswith("miniboone ") for line in shown.splitlines()) == 2
    results = load_density_results([SWEEP])
    assert sorted((result.form, result.seed) for result in results) == [
        *(("adacat", 0), ("adacat", 1)),
        *(("uniform", 0), ("uniform", 1)),
    ]
    assert [record["ok"] for record in lines("jobs.jsonl")] == [True] * 4
    assert (SWEEP / "table.md").read_text().count("| miniboone |") == 2
    sweep.main(flags)
    assert capsys.readouterr().out == shown
    assert len(lines("jobs.jsonl")) == 4


def test_a_damaged_checkpoint_is_set_aside_and_its_steps_are_repeated(table: list[str]) -> None:
    sweep.main(table)
    (job,) = make_jobs(table)
    assert job.is_done()
    assert job.folder is not None
    (before,) = load_density_results([job.folder])
    last = max(job.folder.glob("step_*"))
    whole = (last / "model.safetensors").read_bytes()
    (last / "model.safetensors").write_bytes(whole[:-1] + b"x")
    assert not job.is_done()
    sweep.main(table)
    assert job.is_done()
    assert (job.folder / f"damaged_{last.name}").exists()
    assert (last / "model.safetensors").read_bytes() == whole
    (after,) = load_density_results([job.folder])
    assert after.nll == before.nll


def test_a_training_without_its_result_or_of_other_data_is_not_done(table: list[str], home: Path) -> None:
    sweep.main(table)
    (job,) = make_jobs(table)
    assert job.folder is not None
    result = job.folder / "density.jsonl"
    text = result.read_text()
    for changed in ("", text.replace('"seed": 0', '"seed": 1'), text.replace('"hidden": 8', '"hidden": 9')):
        assert changed != text
        result.write_text(changed)
        assert not job.is_done()
    result.unlink()
    sweep.main(table)
    assert job.is_done()
    (longer,) = make_jobs([*table, "n_steps=8"])
    assert not longer.is_done()
    data = home / "tables" / "miniboone" / "data.npy"
    np.save(data, np.load(data)[:-20])
    (other,) = make_jobs(table)
    assert not other.is_done()
    with pytest.raises(InputError, match="1 of 1 jobs failed"):
        sweep.main(table)
    assert "trained on other data" in lines("failures.jsonl")[0]["error"]


def test_another_number_of_steps_needs_another_name(table: list[str]) -> None:
    sweep.main(table)
    (job,) = make_jobs(table)
    for n_steps in ("4", "8"):
        with pytest.raises(InputError, match="1 of 1 jobs failed"):
            sweep.main([*table, f"n_steps={n_steps}"])
        assert f"--n_steps 6, not {n_steps}: " in (error := lines("failures.jsonl")[0]["error"])
        assert "(for a sweep: --name)" in error
    assert job.is_done()
    sweep.main([*table, "n_steps=8", "--name", "other"])
    (result,) = load_density_results([SWEEP.with_name("other")])
    assert result.n_steps == 8


def test_the_table_has_results_of_the_sweeps_settings_only(table: list[str]) -> None:
    sweep.main(table)
    (job,) = make_jobs(table)
    assert job.folder is not None
    path = job.folder / "density.jsonl"
    own = path.read_text()
    for changed in ('"hidden": 9', '"n_steps": 8'):
        name = changed.split(":")[0]
        old = next(text for text in (f"{name}: 8", f"{name}: 6") if text in own)
        path.write_text(own.replace(old, changed) + path.read_text())
    assert len(load_density_results([job.folder])) == 3
    sweep.main(table)
    (result,) = load_density_results([SWEEP])
    assert json.dumps(asdict(result)) == own.strip()
    assert (SWEEP / "table.md").read_text().count("| miniboone |") == 1


def test_a_finished_sweep_is_done_without_its_data(table: list[str], home: Path) -> None:
    sweep.main(table)
    before = (SWEEP / "density.jsonl").read_text()
    (home / "tables").rename(home / "moved")
    (job,) = make_jobs(table)
    assert job.is_done()
    sweep.main(table)
    assert (SWEEP / "density.jsonl").read_text() == before
    (other,) = make_jobs([*table, "hidden=9"])
    assert not other.is_done()


def test_other_clips_are_synthesized_without_another_training(home: Path) -> None:
    flags = words("audio", "speech", tiny_voice(home))
    sweep.main(flags)
    (job,) = make_jobs(flags)
    assert job.folder is not None
    result = job.folder / "density.jsonl"
    whole = json.loads(result.read_text())
    for changed in (["clip_seconds=0.02"], ["n_clips=1"], ["n_clips=0"], []):
        (job,) = make_jobs([*flags, *changed])
        assert not job.is_done()
        sweep.main([*flags, *changed])
        assert job.is_done()
    (again,) = load_density_results([job.folder])
    assert (again.nll, again.measures) == (whole["nll"], whole["measures"])
    del whole["sampling"]  # as results were, with the flags' defaults
    result.write_text(json.dumps(whole))
    assert not job.is_done()
    (default,) = make_jobs([*flags, "n_clips=4", "clip_seconds=0.5"])
    assert default.is_done()


def test_a_dataset_may_have_a_space_in_its_name(home: Path) -> None:
    flags = words("audio", "my speech", tiny_voice(home))
    sweep.main(flags)
    assert (SWEEP / "my-speech_adacat_synthesized.wav").exists()
    assert "| my speech |" in (SWEEP / "table.md").read_text()


def test_a_failed_training_is_recorded_and_the_others_are_tabulated(
    table: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*table, "--datasets", "power", "miniboone"]
    with pytest.raises(InputError, match=r"1 of 2 jobs failed .* train power adacat_0"):
        sweep.main(flags)
    (record,) = lines("failures.jsonl")
    assert record["status"] == 3
    assert "power" in record["error"]
    assert "miniboone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("experiment", "dataset", "write", "names"),
    [
        ("images", "mnist", tiny_digits, ["samples.png"]),
        ("audio", "speech", tiny_voice, ["real.wav", "spectrograms.png", "synthesized.wav"]),
    ],
)
def test_the_samples_of_the_first_seed_are_copied_and_lost_ones_drawn_again(
    home: Path, experiment: str, dataset: str, write: Callable[[Path], list[str]], names: list[str]
) -> None:
    flags = [*words(experiment, dataset, write(home)), "--seeds", "1", "0"]
    sweep.main(flags)
    methods = {path.name for path in SWEEP.iterdir() if path.suffix in (".png", ".wav")}
    assert methods == {f"{dataset}_adacat_{name}" for name in names}
    first, second = make_jobs(flags)
    assert first.folder is not None
    sample = first.folder / names[-1]
    assert (SWEEP / f"{dataset}_adacat_{names[-1]}").read_bytes() == (before := sample.read_bytes())
    sample.unlink()
    assert (first.is_done(), second.is_done()) == (False, True)
    sweep.main(flags)
    assert sample.read_bytes() == before


def test_a_dry_run_rests_on_measured_steps_and_runs_nothing(
    table: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*table, "--seeds", "0", "1", "--parameterizations", "adacat", "uniform", "--dry_run"]
    sweep.main(flags)
    assert "0 of these durations rest on steps measured" in capsys.readouterr().out
    assert not (home / "logs").exists()
    sweep.main([*table, "--seeds", "0"])
    sweep.main(flags)
    shown = capsys.readouterr().out
    assert "done  train miniboone adacat_0" in shown
    assert "4 jobs (4 train), 1 done, 3 to run" in shown
    assert "3 of these durations rest on steps measured" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--plan", "horizon=3"], "section 'plan' has no effect with experiment = 'tabular'"),
        (["--critic", "expectile=0.7"], "section 'critic' has no effect"),
        (["--rollouts", "3"], "'rollouts' has no effect on density models"),
        (["--train", "form=uniform"], "use the sweep's setting 'parameterizations'"),
        (["--train", "out=elsewhere"], "sets 'out' of its jobs itself"),
        (["--train", "hiden=4"], "did you mean hidden"),
        (["--train", "N=4"], "--N has no effect with --form adacat"),
        (["--train", "hidden=0"], "hidden must be"),
        (["--parameterizations", "adacats"], "adacat"),
    ],
)
def test_wrong_flags_are_refused_before_the_first_job(
    table: list[str], home: Path, flags: list[str], message: str
) -> None:
    train = table.index("--train")
    with pytest.raises(InputError, match=message):
        sweep.main([*table[:train], *flags] if "--train" in flags else [*table, *flags])
    assert not (home / "logs").exists()


@pytest.mark.parametrize(("experiment", "n_jobs"), [("tabular", 36), ("images", 75), ("audio", 18)])
def test_the_presets_are_the_trainings_of_the_published_results(experiment: str, n_jobs: int) -> None:
    jobs = make_jobs(["--preset", f"density-{experiment}"])
    assert len(jobs) == n_jobs
    trainings = {training(experiment, job.command[3:]) for job in jobs}
    assert len(trainings) == n_jobs
    published = {
        key(result.dataset, result.form, result.seed, result.settings)
        for result in load_density_results([ROOT / "results" / "density" / experiment])
    }
    assert trainings <= published
    if experiment != "tabular":  # whose results have longer trainings and other methods too
        assert trainings == published


def training(experiment: str, argv: Sequence[str]) -> str:
    parser = PARSERS[experiment].new().parse(argv)
    values = parser.arguments()
    return key(values["dataset"], values["form"], values["seed"], to_nested(parser.settings(parser.configs[0])))


def key(*method: Any) -> str:
    return json.dumps(method, sort_keys=True)
