"""The table and the figures of density models."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib import style
from matplotlib.colors import to_hex

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.density_results import DensityResult
from trajectory_adacat.plotting import density_plot
from trajectory_adacat.plotting.density_groups import gather_density
from trajectory_adacat.plotting.density_plot import density_figure
from trajectory_adacat.plotting.saving import STYLE
from trajectory_adacat.scripts import density

ADACAT = DensityResult(
    experiment="tabular",
    dataset="casp",
    form="adacat",
    seed=0,
    nll=1.0,
    validation_nll=0.9,
    unit="nats per row",
    n_parameters=1234,
    n_outputs=64,
    n_steps=3,
    seconds={"wall": 2.0, "cpu": 1.5},
    settings={"model": {"form": {"name": "adacat", "smooth_start": 0.2}}},
    data={"sha256": "0"},
    versions={},
    git_revision=None,
    measures={},
)
PUBLISHED = {"model": {"form": {"name": "adacat", "smooth_start": None}}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three trainings of two methods on a table, and one of a third."""
    for seed in range(3):
        replace(ADACAT, seed=seed, nll=1.0 + seed).save(tmp_path / "tabular")
        replace(ADACAT, seed=seed, nll=4.0 + seed, settings=PUBLISHED).save(tmp_path / "tabular")
    other = replace(ADACAT, form="kernel_density", nll=3.0, n_outputs=None, settings={"bandwidths": [0.1]})
    other.save(tmp_path / "tabular")
    return tmp_path / "tabular"


def images(folder: Path) -> Path:
    """One training of two forms with two numbers of outputs."""
    for form in ("adacat", "uniform"):
        for n_outputs in (32, 128):
            settings = {"model": {"form": {"name": form, "n": n_outputs}}}
            changes = {"experiment": "images", "dataset": "mnist", "unit": "bits per dimension", "settings": settings}
            replace(ADACAT, form=form, n_outputs=n_outputs, **changes).save(folder / "images")
    return folder / "images"


def test_trainings_are_pooled_by_their_settings_and_sorted_by_their_mean(results: Path) -> None:
    groups = gather_density([results])
    assert [group.label for group in groups] == ["AdaCat, annealed", "kernel density", "AdaCat, published smoothing"]
    assert [group.summary.mean for group in groups] == [2.0, 3.0, 5.0]
    assert groups[0].summary.standard_error == pytest.approx(1 / 3**0.5)
    assert groups[1].summary.mean_interval is None


def test_trainings_on_other_data_are_not_pooled(results: Path) -> None:
    replace(ADACAT, seed=3, data={"sha256": "1"}).save(results)
    assert [len(group.results) for group in gather_density([results])] == [1, 3, 1, 3]


def test_the_table_shows_means_errors_and_the_papers_figures(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    density.main(["table", str(results), "--format", "markdown"])
    shown = capsys.readouterr().out
    assert "| casp | AdaCat, annealed | 64 | 1,234 | 3 | 2.000 | 0.577 | [1." in shown
    assert "| casp | kernel density |  | 1,234 | 1 | 3.000 |  |  | 1.5 | 3 |" in shown
    assert "| GAS (paper) | AdaCat | 2000 |  |  | -11.270 |" in shown
    assert "another size of data" in shown
    density.main(["table", str(results), "--published", "false"])
    assert "paper" not in capsys.readouterr().out


def test_the_table_shows_the_range_where_trainings_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (n_parameters, n_steps) in enumerate([(1679, 64), (3359, 64), (839, 60)]):
        mixture = replace(ADACAT, form="gaussian_mixture", n_outputs=None, settings={"n_components": [80, 160]})
        replace(mixture, seed=seed, n_parameters=n_parameters, n_steps=n_steps).save(tmp_path)
    density.main(["table", str(tmp_path), "--format", "markdown"])
    shown = capsys.readouterr().out
    assert "| casp | gaussian mixture |  | 839-3,359 | 3 | 1.000 |" in shown
    assert "| 1.5 | 60-64 |" in shown
    assert "smallest-largest" in shown


def test_the_estimator_has_its_own_name(tmp_path: Path) -> None:
    replace(ADACAT, form="adacat_estimator", settings={"k": 32}).save(tmp_path)
    assert [group.label for group in gather_density([tmp_path])] == ["AdaCatDensity"]


def test_the_table_of_audio_has_the_mu_law_likelihood_and_the_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = replace(ADACAT, experiment="audio", dataset="speech", unit="bits per sample", nll=-5.0)
    for seed, distance in enumerate((7.0, 9.0)):
        replace(audio, seed=seed, measures={"mu_law_shift": 4.25, "mcd": distance}).save(tmp_path)
    replace(audio, settings=PUBLISHED, measures={"mu_law_shift": 4.25}).save(tmp_path)
    density.main(["table", str(tmp_path), "--format", "markdown"])
    shown = capsys.readouterr().out
    lines = {line.split(" | ")[1]: line for line in shown.splitlines() if line.startswith("| speech")}
    assert lines["AdaCat, annealed"].endswith("| -0.750 | 8.000 |")
    assert lines["AdaCat, published smoothing"].endswith("| -0.750 |  |")
    assert "| LJSpeech (paper) | mu law | 30 |  |  | -7.710 |  |  |  |  | -3.320 | 17.000 |" in shown


def test_distances_of_other_clips_are_not_pooled(tmp_path: Path) -> None:
    audio = replace(ADACAT, experiment="audio", dataset="speech", measures={"mcd": 7.0})
    for seed, clips in enumerate((4, 4, 1)):
        replace(audio, seed=seed, sampling={"n_clips": clips, "clip_seconds": 0.5}).save(tmp_path)
        (group,) = gather_density([tmp_path])
        assert len(group.results) == seed + 1
        assert group.mcd == (7.0 if clips == 4 else None)


def test_the_table_is_written_in_the_form_of_its_ending(results: Path, tmp_path: Path) -> None:
    density.main(["table", str(results), "--out", str(tmp_path / "out" / "table.md")])
    assert (tmp_path / "out" / "table.md").read_text().startswith("| dataset | method |")


def test_the_figure_has_a_panel_for_each_dataset_with_a_mark_for_each_method(results: Path) -> None:
    replace(ADACAT, dataset="grid").save(results)
    axes = density_figure(gather_density([results])).axes
    assert [axis.get_title() for axis in axes] == ["casp", "grid"]
    assert len(axes[0].containers) == 3


def test_eight_methods_have_colours_of_their_own(tmp_path: Path) -> None:
    for i in range(8):
        replace(ADACAT, form=f"method_{i}", nll=float(i), settings={"i": i}).save(tmp_path)
    with style.context(Path(density_plot.__file__).with_name(STYLE)):
        (axis,) = density_figure(gather_density([tmp_path])).axes
        colors = {to_hex(container.lines[0].get_color()) for container in axis.containers}
    assert len(colors) == 8


def test_trainings_of_several_lengths_are_methods_of_their_own(results: Path) -> None:
    longer = {**ADACAT.settings, "trainer": {"n_steps": 9}}
    replace(ADACAT, nll=0.5, n_steps=9, settings=longer).save(results)
    (axis,) = density_figure(gather_density([results])).axes
    names = ["AdaCat, annealed, 9 steps", "AdaCat, annealed, 3 steps", "kernel density", "AdaCat, published smoothing"]
    assert [label.get_text() for label in axis.get_yticklabels()] == names


def test_several_numbers_of_outputs_make_figure_4_beside_the_papers(tmp_path: Path) -> None:
    folder = images(tmp_path)
    axes = density_figure(gather_density([folder])).axes
    assert [axis.get_title() for axis in axes] == ["mnist", "the paper's: MNIST 28 x 28, its sizes"]
    assert axes[0].get_lines()[0].get_xdata().tolist() == [32, 128]  # type: ignore[union-attr]
    density.main(["plot", str(folder), "--out", str(tmp_path / "figure4.png")])
    assert (tmp_path / "figure4.png").read_bytes().startswith(b"\x89PNG")


def test_the_papers_panel_is_of_the_experiment_whose_outputs_vary(results: Path, tmp_path: Path) -> None:
    replace(ADACAT, experiment="audio", dataset="a speaker").save(results)
    titles = [axis.get_title() for axis in density_figure(gather_density([results, images(tmp_path)])).axes]
    assert titles == ["a speaker", "mnist", "casp", "the paper's: MNIST 28 x 28, its sizes"]


def test_what_cannot_be_drawn_or_read_is_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must end in"):
        density.main(["plot", str(results), "--out", "figure.jpg"])
    with pytest.raises(InputError, match="no density results"):
        density.main(["table", str(tmp_path / "plots")])
