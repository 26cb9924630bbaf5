"""The report's page, read as text: what stands in it, and what stands in the place of what is missing."""

import base64
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("plotly")

from tests.plotting.conftest import write_logs
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import RolloutResult, load_results
from trajectory_adacat.plotting.report import page as page_module
from trajectory_adacat.plotting.report.command import main
from trajectory_adacat.plotting.summary import gather
from trajectory_adacat.plotting.table import text_table
from trajectory_adacat.recording import find_recordings, load_recording

Make = Callable[..., RolloutResult]


class Cells(HTMLParser):
    """The texts of the cells of one table's body."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._inside, self._cell = name, False, False
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._inside = ("id", self._name) in attributes
        if self._inside and tag == "tr":
            self.rows.append([])
        if self._inside and tag == "td":
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def write(*paths: Path) -> str:
    out = paths[0].parent / "out" / "report.html"
    main([*map(str, paths), "--out", str(out)])
    return out.read_text()


class Written(NamedTuple):
    """The folder of `logs`, not to be changed, and its page."""

    logs: Path
    page: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The page of the whole folder, for tests that only read it."""
    logs = write_logs(tmp_path_factory.mktemp("written"))
    return Written(logs, write(logs))


def visible(page: str) -> str:
    return unescape(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def figures(page: str) -> dict[str, dict]:
    (packed,) = re.findall(r'id="packed-figures">(.*?)</script>', page)
    return {figure["name"]: figure for figure in json.loads(gzip.decompress(base64.b64decode(packed)))}


def recorded(page: str) -> int:
    return page.count('class="packed-recording"')


def test_the_table_is_that_of_the_table_command(written: Written) -> None:
    cells = Cells("score-table")
    cells.feed(written.page)
    rows = [list(row) for row in text_table(gather(load_results([written.logs]))).rows]
    assert [row for row in cells.rows if row] == rows
    assert "69.5 ± 5.5 (2 trainings x 2)" in rows[0]


def test_the_page_says_how_good_how_sure_and_where_it_fails(written: Written) -> None:
    cells = Cells("glance")
    cells.feed(written.page)
    rows = [[" ".join(cell.split()) for cell in row] for row in cells.rows if row]
    values = [row[1] for row in rows]
    assert [value.partition(" ")[0] for value in values] == ["69.5", "46.1"]  # the best method first
    assert [row[0] for row in rows] == ["adacat", "uniform"]
    assert [row[3:] for row in rows] == [
        ["2 trainings x 2", "62.5", "0 of 4", "1.30 (too high)"],
        ["2 trainings x 2", "40.6", "2 of 4, from step 700", "1.30 (too high)"],
    ]
    assert rows[0][2] == "dataset mean return 44.3"
    text = visible(written.page)
    assert (
        "The lowest return is 1300 (score 40.6): uniform on hopper-medium-v2, training 1, rollout 0, which ended in a "
        "terminal state at step 700." in text
    )
    assert "is predicted worst: it leaves the central 90 % of its prediction at" in text
    assert (
        "adacat on hopper-medium-v2: planned / realized return is 1.30 in the mean: the plans promise too much." in text
    )


def test_intervals_are_drawn_on_one_axis(written: Written) -> None:
    found = [
        [float(number) for number in line]
        for line in re.findall(
            r'class="interval" x1="([\d.]+)" x2="([\d.]+)".*?class="mean" x1="([\d.]+)"', written.page, re.DOTALL
        )
    ]
    (row,) = gather(load_results([written.logs]))
    top = max(end for summary in row.summaries.values() for end in summary.mean_interval or ())
    expected = [
        [100 * end / top for end in (*(summary.mean_interval or ()), summary.mean)]
        for summary in (row.summaries[name] for name in ("adacat", "uniform"))
    ]
    assert found == [pytest.approx(line, abs=0.06) for line in expected]


def test_columns_are_named_by_folders_if_asked(logs: Path, result: Make) -> None:
    for folder, horizon in (("long", 15), ("short", 5)):
        result("adacat", 0, 0, 2000.0, planner={"search": {"horizon": horizon}}).save(logs / folder)
    out = logs / "report.html"
    main([str(logs / "long"), str(logs / "short"), "--names", "folders", "--out", str(out)])
    assert re.search(r"<td[^>]*>adacat \(long\)", out.read_text())


def test_a_search_is_described_in_words(logs: Path, result: Make) -> None:
    search = {"horizon": 3, "beam_width": 2, "n_expand": 4}
    planners = {"x": {"search": search, "scoring": {"name": "critic"}}, "y": {"search": dict.fromkeys(search, 1)}}
    for folder, planner in planners.items():
        result("quantile", 0, 0, 1.0, planner=planner).save(logs / folder)
    text = visible(write(logs / "x", logs / "y"))
    assert "critic, 2 x 4 candidates, horizon 3" in text
    assert "no search" in text


def test_one_training_is_no_basis_for_a_method(logs: Path, written: Written) -> None:
    assert "says nothing about another training" in visible(write(logs / "adacat" / "0"))
    assert "says nothing about another training" not in visible(written.page)


def test_every_figure_has_data_a_place_and_a_text(written: Written) -> None:
    found = figures(written.page)
    assert {"profile-0", "curve-all", "curve-loss", "curve-learning_rate", "calibration-observation"} <= found.keys()
    assert "curve-seconds_per_step" not in found  # not logged
    for name, figure in found.items():
        assert f'id="{name}"' in written.page
        assert figure["text"]
        assert all(len(trace["x"]) == len(trace["y"]) > 0 for trace in figure["data"])
    assert len(found["curve-all"]["data"]) == 4  # moving average and last weights of two trainings
    assert found["curve-all"]["data"][0]["y"][-1] == -0.8


def test_the_page_asks_for_nothing_outside_itself(written: Written) -> None:
    markup = re.sub(r"<script type=.text/plain.*?</script>", "", written.page, flags=re.DOTALL)
    assert not re.findall(r"https?://", markup)
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", markup)


def test_the_page_says_how_to_make_it_again(written: Written) -> None:
    text = visible(written.page)
    assert f"trajectory-adacat report {written.logs}" in text
    assert "trajectory-adacat plan --seed 2 --record" in text
    assert '"git_revision": "abc"' in text


def test_a_sentence_stands_in_the_place_of_what_is_missing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    page = write(empty)
    text = visible(page)
    assert "There are no rollout results to judge by." in text
    assert "There is no score table" in text
    assert "There are no learning curves" in text
    assert "There are no recordings of rollouts" in text
    assert "There is no calibration" in text
    assert figures(page) == {}


def test_damaged_files_are_named_and_the_others_are_shown(logs: Path) -> None:
    recordings = find_recordings(logs)
    recordings[0].write_bytes(recordings[0].read_bytes()[:100])
    (logs / "training" / "gpt_0" / "metrics.jsonl").write_text("no json\n")
    (logs / "adacat" / "1" / "rollouts.jsonl").write_text('{"dataset": 3}\n')
    page = write(logs)
    text = visible(page)
    assert f"The recording {recordings[0]} cannot be read" in text
    assert "gpt_0/metrics.jsonl cannot be read" in text
    assert f"The rollout result {logs / 'adacat' / '1' / 'rollouts.jsonl'}:1" in text
    assert recorded(page) == 2
    assert len(figures(page)["curve-loss"]["data"]) == 1
    assert "adacat on hopper-medium-v2" in text


def test_partial_recordings_are_named(logs: Path, record: Callable[..., Path]) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"planner": None}, "its description lacks"),
        ({"names": {"observation": ["height"]}}, "its description lacks 'action'"),
        ({"names": {"observation": ["height"], "action": ["hip", "knee"]}}, "it does not name each dimension once"),
        ({"result": {}}, "its description lacks 'return'"),
        ({"names": None}, "its description lacks"),
    ]
    broken = {record(logs / f"broken_{i}", 9, 1.0, **changes): said for i, (changes, said) in enumerate(cases)}
    page = write(logs)
    text = " ".join(visible(page).split()).replace(" .", ".")
    for path, sentence in broken.items():
        assert f"The recording {path} cannot be read: {sentence}" in text
    assert recorded(page) == 3


def test_a_recording_without_plans_is_shown(logs: Path, record: Callable[..., Path]) -> None:
    recording = load_recording(record(logs / "short", 9, 1.0))
    of_plans = ("steps", "plans", "spread", "scores", "score_spread", "realized", "pit", "widths", "masses", "kept")
    path = logs / "short" / "recordings" / "rollout_9.npz"
    replace(recording, **{name: getattr(recording, name)[:0] for name in of_plans}).save(path)
    page = write(logs / "short")
    assert recorded(page) == 1
    assert "There is no calibration" in visible(page)


def test_numbers_that_are_none_or_infinite_leave_gaps(logs: Path) -> None:
    with (logs / "training" / "gpt_0" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": NaN, "held_out_ema/all": null}\n{"step": "x"}\n')
    page = write(logs)
    assert "NaN" not in json.dumps(figures(page))
    (loss, _) = figures(page)["curve-loss"]["data"]
    assert (loss["x"][-1], loss["y"][-1]) == (9, None)


def test_checkpoints_without_a_file_and_trainings_without_a_log_are_named(logs: Path) -> None:
    folder = logs / "old" / "step_00000005"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text(json.dumps({"files": {"model.safetensors": "a", "ema.safetensors": "b"}}))
    (folder / "ema.safetensors").touch()
    broken = logs / "broken" / "step_00000005"
    broken.mkdir(parents=True)
    (broken / "checkpoint.json").write_text("{")
    text = visible(write(logs))
    assert f"The checkpoint {folder} lacks model.safetensors: it cannot be used." in text
    assert f"The training {logs / 'old'} has no metrics.jsonl, and so no learning curves." in text
    assert f"The checkpoint {broken} cannot be read" in text


def test_two_hundred_recordings_fit_on_a_page(logs: Path, record: Callable[..., Path]) -> None:
    for seed in range(3, 200):
        record(logs / "adacat" / "0", seed, 2000.0 + seed, b"video" * 100)
    page = write(logs)
    assert recorded(page) == 200
    assert len(page) < 15_000_000


def test_results_that_are_given_twice_leave_the_page_without_a_table(logs: Path) -> None:
    copy = logs / "copy" / "rollouts.jsonl"
    copy.parent.mkdir()
    copy.write_text((logs / "adacat" / "0" / "rollouts.jsonl").read_text())
    text = visible(write(logs))
    assert "hold the same run" in text
    assert "There is no score table: no rollout results were found, or they cannot be pooled." in text


def test_recordings_beyond_the_page_size_are_left_out(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    logs, whole = written
    assert recorded(whole) == 3
    longest = max(map(len, re.findall(r'class="packed-recording">(.*?)</script>', whole)))
    others = sum(map(len, re.findall(r'id="packed-\w+">(.*?)</script>', whole)))
    monkeypatch.setattr(page_module, "LARGEST", others + 2 * longest)
    page = write(logs)
    assert recorded(page) == 2
    assert "2 of 3 recordings fit on this page" in " ".join(visible(page).split())
    options = re.findall(r"<option[^>]*>(.*?)</option>", page)
    assert [option.partition(",")[0] for option in options] == ["return 1900", "return 2100"] * 2  # in both lists


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere to report on"):
        write(tmp_path / "nowhere")


def test_a_report_loads_neither_torch_nor_mujoco(logs: Path) -> None:
    code = (
        "import sys; from trajectory_adacat.plotting.report.command import main; "
        f"main([{str(logs)!r}, '--out', {str(logs / 'report.html')!r}]); "
        "heavy = {'torch', 'mujoco', 'gymnasium'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
