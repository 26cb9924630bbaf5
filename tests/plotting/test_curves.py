"""The learning curves: one panel for each group, one line for each training."""

import json
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from trajectory_adacat.errors import InputError
from trajectory_adacat.plotting.curves import GROUPS, curves_figure, load_curves, main


def write(folder: Path, offset: float = 0.0, behavior: float | None = None, prefix: str = "held_out_ema") -> Path:
    """Write the log of two steps; group i has offset + i at step 10 and one less at step 20."""
    lines = []
    for n, step in enumerate((10, 20)):
        values = {f"{prefix}/{group}": offset + i - n for i, group in enumerate(GROUPS)}
        lines.append({"step": step, **values, **({} if behavior is None else {"behavior/action": behavior})})
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def drawn(axis: Axes) -> list[tuple[str, list[float], list[float], str]]:
    """Label, steps, values and style of each line."""
    return [
        (str(line.get_label()), list(line.get_xdata()), list(line.get_ydata()), str(line.get_linestyle()))  # type: ignore[arg-type]
        for line in axis.lines
    ]


def test_each_training_is_a_line_in_the_panel_of_each_group(tmp_path: Path) -> None:
    write(tmp_path / "hopper" / "gpt" / "a")
    write(tmp_path / "walker2d" / "gpt" / "a", offset=5.0)
    axes = curves_figure(load_curves([tmp_path])).axes
    assert [axis.get_title() for axis in axes] == list(GROUPS)
    for i, axis in enumerate(axes):
        assert drawn(axis) == [
            ("hopper/gpt/a", [10, 20], [i, i - 1], "-"),
            ("walker2d/gpt/a", [10, 20], [5 + i, 4 + i], "-"),
        ]


def test_the_behaviour_policy_is_a_dashed_line_in_the_panel_of_the_actions(tmp_path: Path) -> None:
    write(tmp_path / "a", behavior=-1.5)
    write(tmp_path / "b")
    write(tmp_path / "c", behavior=-2.5)
    figure = curves_figure(load_curves([tmp_path]))
    for group, axis in zip(GROUPS, figure.axes, strict=True):
        dashed = [values for _, _, values, style in drawn(axis) if style == "--"]
        assert dashed == ([[-1.5, -1.5], [-2.5, -2.5]] if group == "action" else [])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c", "behaviour policy"]
    colors = [line.get_color() for line in figure.axes[GROUPS.index("action")].lines]
    assert colors == ["C0", "C1", "C2", "C0", "C2"]  # those of their trainings


def test_files_and_folders_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "gpt" / "a")
    monkeypatch.chdir(tmp_path)
    assert list(load_curves([folder, folder / "metrics.jsonl", Path("gpt")])) == ["a"]


def test_trainings_without_held_out_data_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", prefix="train")
    assert list(load_curves([tmp_path])) == ["a"]
    with pytest.raises(InputError, match=r"No metrics\.jsonl with held-out data"):
        load_curves([tmp_path / "b"])


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*nowhere"):
        load_curves([tmp_path / "nowhere"])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json is not a metrics\.jsonl"):
        load_curves([tmp_path / "other.json"])
    (tmp_path / "metrics.jsonl").write_text("nothing\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl cannot be read"):
        load_curves([tmp_path])


def test_the_command_writes_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", behavior=-1.5)
    out = tmp_path / "new" / "curves.png"
    main([str(tmp_path), "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    assert str(out) in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--out .* must end in"):
        main([str(tmp_path), "--out", str(tmp_path / "curves.txt")])
