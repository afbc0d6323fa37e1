"""The notebooks run, draw, and are kept without outputs."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from tests.docs.markdown import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
RUNNER = runpy.run_path(str(ROOT / "notebooks" / "run.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One for all: each goes on where the one before ended."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_is_kept_clean(path):
    assert path.read_text(encoding="utf-8") == RUNNER["cleaned"](path)


def test_clean_takes_out_what_a_run_and_an_editor_leave(tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text="12")]
    code.execution_count = 3
    code.metadata = {"collapsed": True}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11"}
    nbformat.write(notebook, tmp_path / "used.ipynb")
    assert RUNNER["cleaned"](tmp_path / "used.ipynb") == NOTEBOOKS[0].read_text(encoding="utf-8")


@pytest.mark.docs
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_runs_and_draws(path, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    copy = RUNNER["run"](path, folder, folder=folder)
    outputs = outputs_of(copy)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "Traceback" not in "".join(output.get("text", "") for output in outputs)


def outputs_of(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]
