"""The notebook of docs/: it is stored with its outputs, and runs. Skipped where nbclient or ipykernel is missing."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
LARGEST = 200_000  # bytes
TIMEOUT = 1200  # seconds of one cell


def test_it_is_stored_with_the_outputs_of_a_run_without_errors() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert NOTEBOOK.stat().st_size < LARGEST


def test_it_runs() -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    import nbformat

    notebook = nbformat.read(NOTEBOOK, 4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=TIMEOUT, resources=folder).execute()
    texts = [output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
    assert texts[0].startswith("negative log-likelihood: 1.0")  # a normal distribution reaches 1.7
    assert texts[1].startswith("return of the first 60 steps: ")
