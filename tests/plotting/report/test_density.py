"""Results of density estimation on the page: scores, tables, pictures and sounds."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("plotly")

from trajectory_adacat.plotting.report import page as page_module
from trajectory_adacat.plotting.report.command import main


def write(folder: Path) -> str:
    main([str(folder), "--out", str(folder / "report.html")])
    return (folder / "report.html").read_text()


def cells(page: str) -> list[list[str]]:
    (table,) = re.findall(r'<table class="density-table">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [
        [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


def test_trainings_are_pooled_unless_their_settings_differ(density: Path) -> None:
    assert cells(write(density)) == [
        ["ccpp", "adacat", "4.200 ± 0.115 nats per row", "3", "64", "mcd 2"],
        ["ccpp", "uniform (k=32)", "5.000 nats per row", "1", "64", "mcd 0"],
        ["ccpp", "uniform (k=64)", "6.000 nats per row", "1", "64", "mcd 0"],
    ]


def test_measures_of_other_samples_are_not_pooled(density: Path) -> None:
    file = density / "audio" / "density.jsonl"
    results = [json.loads(text) | {"sampling": {"n_clips": n}} for n, text in enumerate(file.read_text().splitlines())]
    file.write_text("".join(json.dumps(result) + "\n" for result in results))
    assert cells(write(density))[0] == ["ccpp", "adacat", "4.200 ± 0.115 nats per row", "3", "64", ""]


def test_the_page_says_which_method_is_best_and_leaves_out_planning(density: Path) -> None:
    page = write(density)
    assert "ccpp: the lowest negative log-likelihood has adacat 4.200 ± 0.115 nats per row; then uniform" in page
    assert "curve-validation" in page
    for absent in ("Rollouts: what was planned", "There is no score table", "There are no rollout results"):
        assert absent not in page


def test_pictures_and_sounds_of_one_name_stand_together(density: Path) -> None:
    figures = re.findall(r'<figure class="exhibit">(.*?)</figure>', write(density), re.DOTALL)
    assert [re.findall(r"<figcaption>(.*?)</figcaption>", figure) for figure in figures] == [
        ["grid"],
        ["samples/first"],
    ]
    assert "data:image/png;base64," in figures[0]
    assert "<audio" not in figures[0]
    assert "data:audio/wav;base64," in figures[1]


def test_the_table_of_the_folder_is_shown(density: Path) -> None:
    page = write(density)
    assert '<th scope="col">nats</th>' in page
    assert "<td>4.2</td>" in page
    assert "---" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)


def test_damaged_results_are_named_and_other_lines_are_ignored(density: Path) -> None:
    with (density / "audio" / "density.jsonl").open("a") as file:
        file.write('{"dataset": "ccpp", "form": "adacat"}\n{\n')
    (density / "audio" / "likelihood.jsonl").write_text('{"form": "a"}\n{\n')
    page = unescape(write(density))
    for number in (6, 7):
        assert f"The density result {density / 'audio' / 'density.jsonl'}:{number} cannot be read" in page
    assert "likelihood.jsonl" not in page
    assert len(cells(page)) == 3


def test_a_folder_without_samples_has_a_sentence(density: Path) -> None:
    for file in [*density.rglob("*.png"), *density.rglob("*.wav")]:
        file.unlink()
    assert "There are no samples" in write(density)


def test_what_does_not_fit_on_the_page_is_counted(density: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write(density)
    packed = sum(map(len, re.findall(r'id="packed-\w+">(.*?)</script>', whole)))
    grid = len(re.findall(r'src="(data:image/png[^"]*)"', whole)[0])
    monkeypatch.setattr(page_module, "LARGEST", packed + grid)
    page = write(density)
    assert page.count('class="exhibit"') == 1
    assert "1 of the pictures and sounds do not fit on this page." in page


def test_results_of_planning_stand_beside_those_of_density_estimation(density: Path, logs: Path) -> None:
    main([str(density), str(logs), "--out", str(density / "both.html")])
    page = (density / "both.html").read_text()
    assert 'class="density-table"' in page
    assert 'id="score-table"' in page
