"""The figures: their marks are those of the table, the logs and the recordings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.patches import StepPatch

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.evaluation.scores import normalized_score
from trajectory_adacat.evaluation.statistics import summarize
from trajectory_adacat.plotting.plot import Statistic, bar_figure, main, profile_figure
from trajectory_adacat.plotting.published import load_published
from trajectory_adacat.plotting.recorded_figures import calibration_figure, densities_figure, load_summaries
from trajectory_adacat.plotting.summary import Row
from trajectory_adacat.recording import load_recording

PUBLISHED = {score.method: score for score in load_published(["paper"]) if score.dataset == "hopper-medium-v2"}
HOPPER = Row(
    dataset="hopper-medium-v2",
    qualifiers=(),
    measure="score",
    values={"adacat": [[60.0, 70.0, 75.0]], "uniform": [[40.0]]},
    recorded={"dataset mean": [39.0]},
    published=PUBLISHED,
)
OWN = Row("own", ("native dynamics",), "return", {"adacat": [[900.0, 1000.0], [800.0]]}, {}, {})


def bars(row: Row, statistic: Statistic) -> dict[str, float]:
    (axis,) = bar_figure([row], statistic).axes
    containers = [container for container in axis.containers if isinstance(container, BarContainer)]
    return {str(container.get_label()): container.patches[0].get_height() for container in containers}


@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_heights_are_those_of_the_table(statistic: Statistic) -> None:
    summary = summarize(HOPPER.values["adacat"])
    assert bars(HOPPER, statistic) == {"uniform": 40.0, "adacat": pytest.approx(getattr(summary, statistic))}


@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_intervals_are_those_of_the_table(statistic: Statistic) -> None:
    (axis,) = bar_figure([HOPPER], statistic).axes
    (container,) = (c for c in axis.containers if isinstance(c, BarContainer) and c.get_label() == "adacat")
    assert container.errorbar is not None
    (segment,) = container.errorbar.lines[2][0].get_segments()
    summary = summarize(HOPPER.values["adacat"])
    expected = summary.interval if statistic == "iqm" else summary.mean_interval
    assert segment[:, 1] == pytest.approx(expected)


def test_published_and_recorded_references_are_in_the_legend() -> None:
    (axis,) = bar_figure([HOPPER]).axes
    legend = axis.get_legend()
    assert legend is not None
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {
        *("adacat", "uniform", "dataset mean"),
        *("AdaCat, published", "uniform, published", "quantile, published"),
    }


def test_scores_and_returns_have_separate_axes() -> None:
    scores, returns = bar_figure([HOPPER, OWN]).axes
    assert "score" in scores.get_ylabel()
    assert "over rollouts of one training" in scores.get_ylabel()
    assert "return" in returns.get_ylabel()
    assert "over trainings" in returns.get_ylabel()
    assert [label.get_text() for label in returns.get_xticklabels()] == ["own\n(native dynamics)"]


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_the_command_writes_a_figure(tmp_path: Path, ending: str, start: bytes) -> None:
    for seed in range(2):
        RolloutResult(
            dataset="hopper-medium-v2",
            parameterization="adacat",
            train_seed=0,
            rollout_seed=seed,
            return_=1000.0 + seed,
            normalized_score=normalized_score("hopper-medium-v2", 1000.0 + seed),
            length=1000,
            terminated=False,
            truncated=True,
            planner={},
            checkpoint={"hash": "a"},
            environment={"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
            versions={},
            git_revision=None,
            seconds_per_action=0.1,
            data_status="verified",
        ).save(tmp_path)
    out = tmp_path / "figures" / f"scores{ending}"
    main([str(tmp_path), "--out", str(out)])
    assert out.read_bytes().startswith(start)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg"):
        main([str(tmp_path), "--out", "scores.bmp"])


def test_profiles_have_a_panel_for_each_scored_dataset_and_for_all_of_a_kind() -> None:
    walker = Row("walker2d-medium-v2", (), "score", {"adacat": [[10.0, 30.0, 50.0]]}, {}, {})
    figure = profile_figure([HOPPER, walker, OWN])
    assert [axis.get_title() for axis in figure.axes] == [
        *("hopper-medium-v2", "walker2d-medium-v2", "all -v2 datasets")
    ]
    assert {str(text.get_text()) for text in figure.legends[0].get_texts()} == {"uniform", "adacat"}
    by_panel = [{str(line.get_label()): line for line in axis.lines} for axis in figure.axes]
    (thresholds, shares) = by_panel[0]["adacat"].get_data()
    assert dict(zip(thresholds, shares, strict=True))[0.0] == 1.0
    assert shares[abs(thresholds - 71.0).argmin()] == pytest.approx(1 / 3)
    assert shares[-1] == 0.0
    assert set(by_panel[2]) == {"adacat"}  # the only method on both datasets


def test_profiles_of_many_methods_differ_by_colour_or_dashes() -> None:
    methods = {f"method {i}": [[1.0, 2.0]] for i in range(14)}
    (axis,) = profile_figure([Row("hopper-medium-v2", (), "score", methods, {}, {})]).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 14


def test_profiles_need_scores() -> None:
    with pytest.raises(InputError, match="normalized scores"):
        profile_figure([OWN])


@pytest.mark.parametrize("kind", ["bars", "profile", "curves", "calibration", "densities"])
def test_every_kind_is_written_as_a_vector_figure(logs: Path, kind: str) -> None:
    out = logs / f"{kind}.svg"
    main([str(logs), "--kind", kind, "--out", str(out)])
    assert out.read_bytes().startswith(b"<?xml")


def test_the_style_keeps_text_as_text(logs: Path) -> None:
    main([str(logs), "--kind", "calibration", "--out", str(logs / "calibration.svg")])
    svg = (logs / "calibration.svg").read_text()
    assert "predictive cdf at what happened</text>" in svg
    assert "#0072b2" in svg  # the first colour of the style


def test_calibration_has_a_panel_for_each_part_and_a_line_for_each_method(
    logs: Path, record: Callable[..., Path]
) -> None:
    record(logs / "uniform" / "0", 5, 1500.0, parameterization="uniform")
    figure = calibration_figure(load_summaries([logs]))
    assert [axis.get_title() for axis in figure.axes] == ["observation", "reward"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["hopper-medium-v2, adacat", "hopper-medium-v2, uniform"]


def test_densities_show_the_bins_of_the_step_and_the_dimensions_asked_for(logs: Path) -> None:
    (summary,) = load_summaries([logs / "adacat" / "0" / "recordings" / "rollout_1.npz"])
    figure = densities_figure([summary], step=12, dimensions=["angle", "knee"])
    assert [axis.get_xlabel() for axis in figure.axes] == ["angle", "knee"]
    assert figure.axes[0].get_title("left").endswith("step 10")  # the last plan until step 12
    recording = load_recording(summary.path)
    for axis, dimension in zip(figure.axes, (1, 4), strict=True):
        patch = next(patch for patch in axis.patches if isinstance(patch, StepPatch))
        assert np.diff(patch.get_data().edges) == pytest.approx(6.0 * recording.widths[2, dimension], rel=1e-2)
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "what came"]
    assert line.get_xdata()[0] == pytest.approx(recording.observations[11, 1])


def test_densities_of_each_recording_are_a_row(logs: Path) -> None:
    figure = densities_figure(load_summaries([logs]))
    assert len(figure.axes) == 3 * 3
    assert [axis.get_xlabel() for axis in figure.axes[:3]] == ["height", "hip", "reward"]


def test_what_recordings_do_not_hold_is_named(logs: Path, record: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no dimension 'toe': they are height, angle, speed, hip, knee, reward, value"):
        densities_figure(load_summaries([logs]), dimensions=["toe"])
    record(logs / "smooth", 0, 1.0, bins=0)
    with pytest.raises(InputError, match="No recording holds densities in bins"):
        densities_figure(load_summaries([logs / "smooth"]))
    with pytest.raises(InputError, match=r"no recordings in .*uniform: plan with --record"):
        load_summaries([logs / "uniform"])
