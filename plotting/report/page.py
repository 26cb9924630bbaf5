"""Write the report: one HTML page that needs no network."""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.plotting.formats import number
from trajectory_adacat.plotting.report.density import COLUMNS, exhibits
from trajectory_adacat.plotting.report.experiments import Material, RecordingSummary, by_interest
from trajectory_adacat.plotting.report.figures import calibration_figures, curve_figures, profile_figures
from trajectory_adacat.plotting.report.glance import SUSPICIOUS, caveats, failures, glances
from trajectory_adacat.plotting.table import text_table
from trajectory_adacat.recording import QUANTILES, Recording, load_recording

LARGEST = 14_000_000  # bytes of the page
BUNDLE = ("package_data", "plotly.min.js")
FLOATS = ("observations", "actions", "rewards", "plans", "spread", "scores", "score_spread", "realized", "low", "high")
HALVES = ("widths", "masses")  # float16, as in the file


def render(material: Material, title: str, command: str) -> str:
    """Return the page.

    Args:
        material: what to show.
        title: of the page.
        command: that makes the page again.

    Raises:
        ModuleNotFoundError: if a package of the extra ``report`` is missing.
    """
    import jinja2

    folder = files("trajectory_adacat.plotting.report")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    profiles, curves = list(profile_figures(material.rows)), list(curve_figures(material.trainings))
    calibration = list(calibration_figures(material.recordings))
    plotly, shown = _pack(_plotly()), {}
    figures = _pack(json.dumps([asdict(figure) for figure in (*profiles, *curves, *calibration)]).encode())
    room = LARGEST - len(plotly) - len(figures)
    density = []
    for place in material.density:
        found, left_out = exhibits(place, room)
        room -= sum(map(len, chain.from_iterable(found)))
        density.append({"folder": place, "exhibits": found, "left_out": left_out})
    parameterizations = {recording.description["parameterization"] for recording in material.recordings}
    shared = f", {min(parameterizations)}" if len(parameterizations) == 1 else ""  # says nothing in a list
    for recording in by_interest(material.recordings):
        packed = _pack(json.dumps(_content(load_recording(recording.path))).encode())
        if len(packed) > room:
            break
        room -= len(packed)
        shown[recording.label.replace(shared, "")] = packed
    return template.render(
        title=title,
        command=command,
        material=material,
        table=text_table(material.rows) if material.rows else None,
        glances=list(glances(material.rows)),
        caveats=list(caveats(material.rows)),
        failures=list(failures(material)),
        suspicious=SUSPICIOUS,
        profiles=profiles,
        curves=curves,
        calibration=calibration,
        density=density,
        density_columns=COLUMNS,
        shows_planning=bool(material.results or material.recordings or not material.density),
        experiments=list(experiments(material)),
        settings=list(settings(material)),
        recordings=shown,
        commands=commands(material.recordings),
        styles=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        plotly=plotly,
        figures=figures,
    )


def _plotly() -> bytes:
    import plotly

    return Path(plotly.__path__[0], *BUNDLE).read_bytes()


def _pack(content: bytes) -> str:
    """Return the content for the page's script, which unpacks it: gzip, then base64."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _content(recording: Recording) -> dict[str, Any]:
    """Return what the page's script needs of a recording."""
    arrays = {name: _array(getattr(recording, name), "<f4") for name in FLOATS}
    arrays |= {name: _array(getattr(recording, name), "<f2") for name in HALVES}
    arrays["kept"] = _array(recording.kept, "u1")
    description = recording.description
    return {
        **arrays,
        "steps": recording.steps.tolist(),
        "names": description["names"],
        "result": {key: value for key, value in description["result"].items() if value == value},  # NaN is no JSON
        "quantiles": QUANTILES,
        "frames_per_second": description["video"].get("frames_per_second"),
        "missing_video": description["video"].get("missing"),
        "video": base64.b64encode(recording.video.tobytes()).decode(),
    }


def _array(array: NDArray[Any], kind: str) -> dict[str, Any]:
    little_endian = np.ascontiguousarray(array.astype(kind))
    return {"kind": kind[-2:], "shape": array.shape, "base64": base64.b64encode(little_endian.tobytes()).decode()}


def experiments(material: Material) -> Iterator[dict[str, Any]]:
    """Yield a line of the index for each folder with results."""
    folders: dict[Path, list[RolloutResult]] = {}
    for location, result in material.results.items():
        folders.setdefault(location.path.parent, []).append(result)
    for folder, results in folders.items():
        scores = [result.normalized_score for result in results if result.normalized_score is not None]
        yield {
            "folder": str(folder),
            "dataset": results[0].data_label,
            "method": results[0].parameterization,
            "trainings": ", ".join(map(str, sorted({result.train_seed for result in results}))),
            "rollouts": len(results),
            "mean": number(float(np.mean([result.return_ for result in results]))),
            "score": number(float(np.mean(scores))) if scores else "",
        }


def settings(material: Material) -> Iterator[dict[str, Any]]:
    """Yield the settings, data and versions of each method, as JSON, with the commands of its recordings."""
    seen: dict[str, dict[str, Any]] = {}
    for result in material.results.values():
        content = {
            "planner": result.planner,
            "environment": result.environment,
            "checkpoint": {key: value for key, value in result.checkpoint.items() if key != "hash"},
            "versions": result.versions,
            "git_revision": result.git_revision,
        }
        text = json.dumps(content, indent=2)
        label = f"{result.parameterization} on {result.data_label}"
        found = seen.setdefault(text, {"label": label, "json": text, "seeds": set(), "dataset": result.data_label})
        found["seeds"].add(result.train_seed)
    for found in seen.values():
        yield {**found, "seeds": ", ".join(map(str, sorted(found["seeds"])))}


def commands(recordings: Sequence[RecordingSummary]) -> list[str]:
    """Return the commands that made the recordings, each once."""
    return list(dict.fromkeys(recording.description["command"] for recording in recordings))
