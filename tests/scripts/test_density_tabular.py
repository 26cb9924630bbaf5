"""The command of tables on a tiny scale."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.conftest import tiny_table
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.tabular import TabularConfig
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import DensityResult, load_density_results
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.models.heads.fixed_bins import UniformConfig
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_tabular import TabularArguments

Run = Callable[..., DensityResult]


@pytest.fixture
def run(home: Path) -> Run:
    """Trains on `tiny_table` with its flags and more, and returns the result."""
    tiny = tiny_table(home)

    def train(*flags: str) -> DensityResult:
        density.main(["tabular", *tiny, *flags])
        files = home.rglob("density.jsonl")
        return load_density_results([max(files, key=lambda file: file.stat().st_mtime_ns)])[-1]

    return train


@pytest.mark.parametrize("form", ["adacat", "uniform", "quantile", "logistic_mixture"])
def test_each_form_trains_and_writes_a_result(run: Run, form: str) -> None:
    result = run("--form", form)
    assert (result.experiment, result.dataset, result.form, result.seed) == ("tabular", "miniboone", form, 0)
    assert np.isfinite(result.nll)
    assert result.unit == "nats per row"
    assert result.data["rows"] == [243, 27, 30]
    assert result.settings["model"]["form"]["name"] == form
    assert result.n_outputs == {"adacat": 64, "uniform": 64, "quantile": 64, "logistic_mixture": 63}[form]


def test_a_test_row_outside_the_bounds_costs_a_finite_amount(run: Run, home: Path) -> None:
    far = run().nll
    path = home / "tables" / "miniboone" / "data.npy"
    rows = np.load(path)
    rows[-1] = rows[0]
    np.save(path, rows)
    near = run("--exp_name", "near").nll
    assert 0.1 < far - near < 10


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--hidden", "9", "--hidden 8, not 9"),
        ("--n_steps", "4", "--n_steps 6, not 4: .* choose another --exp_name .*, or --overwrite"),
        ("--n_steps", "8", "--n_steps 6, not 8"),
    ],
)
def test_a_training_goes_on_with_the_same_settings_only(
    run: Run, home: Path, flag: str, value: str, message: str
) -> None:
    """The learning rate depends on the share of the steps that is done, so another number is another training."""
    first = run()
    with pytest.raises(InputError, match="--resume"):
        run()
    with pytest.raises(InputError, match=message):
        run("--resume", flag, value)
    again = run("--resume")
    assert (again.n_steps, again.nll) == (6, first.nll)
    assert len(load_density_results([home / "logs"])) == 1
    assert read_density(home / "logs" / "density" / "miniboone" / "tabular" / "adacat_0")[1]["step"] == 6


def test_another_number_of_steps_starts_anew_with_overwrite(run: Run) -> None:
    run()
    longer = run("--overwrite", "--n_steps", "8")
    assert (longer.n_steps, longer.nll) == (8, run("--exp_name", "fresh", "--n_steps", "8").nll)


def test_other_data_are_refused_on_resume(run: Run, home: Path) -> None:
    run()
    path = home / "tables" / "miniboone" / "data.npy"
    np.save(path, np.load(path) + np.arange(3.0) * np.arange(300.0)[:, None])
    with pytest.raises(InputError, match="other data"):
        run("--resume")


def test_results_of_several_trainings_share_a_folder(run: Run, home: Path) -> None:
    for seed in ("1", "2"):
        run("--seed", seed, "--out", "results")
    lines = (home / "results" / "density.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [1, 2]
    first, second = load_density_results([home / "results"])
    assert first.nll != second.nll
    assert first.settings == second.settings


def test_the_same_seed_gives_the_same_model(run: Run) -> None:
    assert run().nll == run("--exp_name", "again").nll


def paper(dataset: str, *flags: str) -> TabularConfig:
    return TabularArguments().parse(["--dataset", dataset, *flags]).settings(TabularConfig)


@pytest.mark.parametrize(
    ("dataset", "b", "hidden", "scale", "k", "n_uniform", "batch"),
    [
        ("power", 32, 500, 1e-5, 100, 100, 10_000),
        ("gas", 32, 1000, 1e-4, 1000, 200, 10_000),
        ("hepmass", 4, 500, 1e-4, 100, 300, 10_000),
        ("miniboone", 8, 500, 1e-4, 100, 100, 1000),
    ],
)
def test_the_presets_of_the_papers_tables(
    dataset: str, b: int, hidden: int, scale: float, k: int, n_uniform: int, batch: int
) -> None:
    config, uniform = paper(dataset), paper(dataset, "--form", "uniform")
    assert config.model.form == AdaCatConfig(n_bins=k, smooth_coeff=scale, smooth_type="normal")
    assert uniform.model.form == UniformConfig(N=n_uniform)
    assert (config.model.frequencies, config.model.hidden, config.model.n_hidden) == (b, hidden, 3)
    trainer: DensityTrainerConfig = config.trainer
    assert (trainer.batch_size, trainer.n_epochs, trainer.lr_halve_every) == (batch, 400, 0.25)


def test_small_presets_anneal_the_smoothing_or_keep_it_constant() -> None:
    annealed, published = paper("casp").model.form, paper("casp", "--preset", "small-published").model.form
    assert isinstance(annealed, AdaCatConfig)
    assert isinstance(published, AdaCatConfig)
    assert annealed.smooth_start == 0.2
    assert (published.smooth_start, published.smooth_type) == (None, "normal")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--form", "adacats"], "did you mean adacat"),
        (["--form", "mu_law"], "mu_law"),  # its bins are narrow at the middle of the range, as for audio
        (["--form", "uniform", "--n_bins", "4"], "--n_bins has no effect"),
        (["--hidden", "0"], "hidden"),
        (["--skip_bad_batches", "1"], "skip_bad_batches"),
        (["--watch"], "watch"),
        (["--frequencies", "-1"], "frequencies"),
        (["--preset", "tiny"], "--preset"),
        (["--dataset", "minibone"], "did you mean miniboone"),
    ],
)
def test_bad_input_is_refused(run: Run, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*flags)
