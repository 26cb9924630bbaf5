"""The report's page, read as text: what stands in it, and what stands in the place of what is missing."""

import base64
import gzip
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("plotly")

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.plotting.report import page as page_module
from trajectory_adacat.plotting.report.command import main
from trajectory_adacat.plotting.summary import gather
from trajectory_adacat.plotting.table import text_table
from trajectory_adacat.recording import find_recordings


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


def visible(page: str) -> str:
    return unescape(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def figures(page: str) -> dict[str, dict]:
    (packed,) = re.findall(r'id="packed-figures">(.*?)</script>', page)
    return {figure["name"]: figure for figure in json.loads(gzip.decompress(base64.b64decode(packed)))}


def recorded(page: str) -> int:
    return page.count('class="packed-recording"')


def test_the_table_is_that_of_the_table_command(logs: Path) -> None:
    cells = Cells("score-table")
    cells.feed(write(logs))
    rows = [list(row) for row in text_table(gather(load_results([logs]))).rows]
    assert [row for row in cells.rows if row] == rows
    assert "69.5 ± 5.5 (2 trainings x 2)" in rows[0]


def test_the_page_says_how_good_how_sure_and_where_it_fails(logs: Path) -> None:
    text = visible(write(logs))
    assert "adacat on hopper-medium-v2: normalized score (100: D4RL's expert) 69.5 [" in text
    assert "from 2 trainings x 2; the 95 % interval is over trainings." in text
    assert "2 of 8 rollouts ended in a terminal state before the time limit." in text
    assert "The lowest return is 1300: uniform on hopper-medium-v2, training 1, rollout 0, 700 steps." in text
    assert "is predicted worst: it leaves the central 90 % of its prediction at" in text
    assert "Planned / realized return is 1.300 in the mean of 8 rollouts: the plans promise too much." in text


def test_every_figure_has_data_a_place_and_a_text(logs: Path) -> None:
    page = write(logs)
    found = figures(page)
    assert {"profile-0", "curve-all", "curve-loss", "curve-learning_rate", "calibration-observation"} <= found.keys()
    assert "curve-seconds_per_step" not in found  # not logged
    for name, figure in found.items():
        assert f'id="{name}"' in page
        assert figure["text"]
        assert all(len(trace["x"]) == len(trace["y"]) > 0 for trace in figure["data"])
    assert len(found["curve-all"]["data"]) == 4  # moving average and last weights of two trainings
    assert found["curve-all"]["data"][0]["y"][-1] == -0.8


def test_the_page_asks_for_nothing_outside_itself(logs: Path) -> None:
    page = write(logs)
    markup = re.sub(r"<script type=.text/plain.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"https?://", markup)
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", markup)


def test_the_page_says_how_to_make_it_again(logs: Path) -> None:
    text = visible(write(logs))
    assert f"trajectory-adacat report {logs}" in text
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


def test_results_that_are_given_twice_leave_the_page_without_a_table(logs: Path) -> None:
    copy = logs / "copy" / "rollouts.jsonl"
    copy.parent.mkdir()
    copy.write_text((logs / "adacat" / "0" / "rollouts.jsonl").read_text())
    text = visible(write(logs))
    assert "hold the same run" in text
    assert "There is no score table: no rollout results were found, or they cannot be pooled." in text


def test_recordings_beyond_the_page_size_are_left_out(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write(logs)
    assert recorded(whole) == 3
    longest = max(map(len, re.findall(r'class="packed-recording">(.*?)</script>', whole)))
    others = sum(map(len, re.findall(r'id="packed-\w+">(.*?)</script>', whole)))
    monkeypatch.setattr(page_module, "LARGEST", others + 2 * longest)
    page = write(logs)
    assert recorded(page) == 2
    assert "2 of 3 recordings fit on this page" in " ".join(visible(page).split())
    options = re.findall(r"<option[^>]*>(.*?)</option>", page)
    assert [option.rpartition(" ")[2] for option in options] == ["1900", "2100"] * 2  # in each of the two lists


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
