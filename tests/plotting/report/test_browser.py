"""The report in a headless Chromium. Skipped where playwright, Chromium or ffmpeg is missing."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trajectory_adacat.plotting.report.command import main
from trajectory_adacat.plotting.table import tabulate
from trajectory_adacat.recording import load_recording
from trajectory_adacat.rendering import encode

pytest.importorskip("plotly")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("imageio_ffmpeg")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
TIMEOUT = 180_000  # milliseconds
IS_EMPTY = "figure => !figure.querySelector('.scatterlayer path, .barlayer path')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=TIMEOUT)
        yield browser
        browser.close()


@pytest.fixture
def report(logs: Path) -> Path:
    """A page with a video of four frames in each recording."""
    video = encode([np.full((64, 64, 3), 60 * i, np.uint8) for i in range(4)], 5.0)
    for path in sorted((logs / "adacat" / "0" / "recordings").iterdir()):
        recording = load_recording(path)
        description = {**recording.description, "video": {"frames_per_second": 5.0}}
        arrays = {**vars(recording), "description": description, "video": np.frombuffer(video, np.uint8)}
        type(recording)(**arrays).save(path)
    main([str(logs), "--out", str(logs / "report.html")])
    return logs / "report.html"


def open_page(browser: Any, report: Path, width: int, scheme: str = "light") -> tuple[Any, list[str]]:
    """Open the page; also return what it complains about and what it asks for outside the file."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()
    page.set_default_timeout(TIMEOUT)
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.split(":")[0] in ("data", "blob") else wrong.append(asked.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-ready]")
    wrong.remove(report.as_uri())
    return page, wrong


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_figure_is_drawn_and_nothing_is_asked_for(browser: Any, report: Path, width: int, scheme: str) -> None:
    page, wrong = open_page(browser, report, width, scheme)
    assert wrong == []
    plots = page.query_selector_all(".plot")
    assert len(plots) >= 10
    for plot in plots:
        box = plot.bounding_box()
        assert 200 < box["width"] <= width
        assert not plot.evaluate(IS_EMPTY), plot.get_attribute("id")
        assert plot.get_attribute("aria-label")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_slider_moves_video_plan_and_densities_by_the_keyboard(browser: Any, report: Path) -> None:
    page, wrong = open_page(browser, report, 1280)
    state = """() => [document.querySelector('video').currentTime,
        document.getElementById('plan-0').data[2].x[0], document.getElementById('density-0').data[0].y.join(),
        document.querySelector('.now').textContent]"""
    before = page.evaluate(state)
    page.focus("#time")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('plan-0').data[2].x[0] === 5")
    after = page.evaluate(state)
    assert [round(before[0], 3), round(after[0], 3)] == [0.1, 0.3]
    assert [before[1], after[1]] == [0, 5]
    assert before[2] != after[2]
    assert after[3].startswith("Step 5: planned 200.0, realized 180.0.")
    assert wrong == []


def test_a_sentence_stands_in_the_place_of_a_video_that_is_missing_or_damaged(
    browser: Any, logs: Path, record: Callable[..., Path]
) -> None:
    record(logs / "adacat" / "0", 2, 1900.0, b"no video")
    main([str(logs), "--out", str(logs / "report.html")])
    page, _ = open_page(browser, logs / "report.html", 1280)
    page.wait_for_selector("text=The video of this recording is damaged")
    assert page.inner_text(".film >> nth=1") == "There is no video. --frames was not given."
    assert page.locator("video:visible").count() == 0


def test_another_dimension_and_another_rollout_are_shown(browser: Any, report: Path) -> None:
    page, _ = open_page(browser, report, 1280)
    page.select_option("#dimension", label="knee")
    page.wait_for_function("document.getElementById('plan-0').layout.yaxis.title.text === 'knee'")
    first = page.evaluate("document.getElementById('plan-0').data[1].y.join()")
    page.select_option(".rollout >> nth=0", index=2)
    page.wait_for_function(f"document.getElementById('plan-0').data[1].y.join() !== '{first}'")


def test_rollouts_of_two_robots_are_shown_by_the_names_of_their_dimensions(
    browser: Any, logs: Path, record: Callable[..., Path]
) -> None:
    names = {"observation": ["angle", "height", "tilt"], "action": ["hip", "ankle"]}
    for seed, return_ in ((0, 10.0), (1, 20.0), (2, 30.0)):
        record(logs / "other", seed, return_, dataset="other", names=names)
    main([str(logs), "--out", str(logs / "report.html")])
    page, wrong = open_page(browser, logs / "report.html", 1280)
    page.select_option(".rollout >> nth=1", label="return 10, rollout 0: other, training 0")
    page.select_option("#dimension", label="height")
    page.wait_for_function("document.getElementById('density-1').layout.xaxis.title.text === 'height'")
    first = "id => document.getElementById(id).data[1].y.find(value => value !== null)"
    expected = load_recording(logs / "other" / "recordings" / "rollout_0.npz").observations[0, 1]
    assert page.evaluate(first, "plan-1") == pytest.approx(float(expected))
    page.select_option("#dimension", label="knee")
    page.wait_for_selector('text=This rollout has no dimension "knee".')
    assert page.evaluate("document.getElementById('plan-0').layout.yaxis.title.text") == "knee"
    assert wrong == []


def test_a_plan_of_one_transition_shows_what_was_predicted_next(
    browser: Any, logs: Path, record: Callable[..., Path]
) -> None:
    path = record(logs / "short", 0, 10.0)
    recording = load_recording(path)
    short = {"plans": recording.plans[:, :1], "spread": recording.spread[:, :, :1]}
    type(recording)(**{**vars(recording), **short}).save(path)
    main([str(logs / "short"), "--out", str(logs / "report.html")])
    page, wrong = open_page(browser, logs / "report.html", 1280)
    predicted = page.evaluate(
        "(({x, y, error_y}) => [x[0], y[0], error_y.array[0], error_y.arrayminus[0]])"
        "(document.getElementById('plan-0').data[3])"
    )
    edges = -3.0 + 6.0 * np.concatenate([[0.0], recording.widths[0, 0].astype(float).cumsum()])
    levels = np.concatenate([[0.0], recording.masses[0, 0].astype(float).cumsum()])
    low, middle, high = np.interp([0.05, 0.5, 0.95], levels, edges)
    assert predicted == pytest.approx([1.0, middle, high - middle, middle - low], rel=1e-4)
    page.select_option("#dimension", label="reward")  # part of the plan itself
    page.wait_for_function("document.getElementById('plan-0').data.length === 3")
    assert wrong == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_pictures_and_sounds_of_density_results_are_loaded(
    browser: Any, density: Path, width: int, scheme: str
) -> None:
    main([str(density), "--out", str(density / "report.html")])
    page, wrong = open_page(browser, density / "report.html", width, scheme)
    assert page.eval_on_selector_all(".exhibit img", "found => found.map(image => image.naturalWidth)") == [8, 8]
    page.wait_for_function("document.querySelector('audio').readyState > 0")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(0.1)
    assert not page.query_selector("#curve-validation").evaluate(IS_EMPTY)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []


def test_the_table_is_that_of_the_table_command(browser: Any, report: Path) -> None:
    page, _ = open_page(browser, report, 1280)
    lines = page.eval_on_selector_all(
        "#score-table tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.innerText))"
    )
    table = tabulate([report.parent], "markdown", "none")
    assert all(cell in table for line in lines for cell in line)
    assert len(lines) == table.count("\n| ") - 1  # without the header


def test_the_filter_hides_other_experiments(browser: Any, report: Path) -> None:
    page, _ = open_page(browser, report, 1280)
    page.fill("#filter", "uniform")
    assert page.locator("#index tbody tr:visible").count() == 2
    assert page.inner_text("#count") == "2 of 4 experiments"
