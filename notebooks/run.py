"""Run the notebooks, and keep their outputs out of the repository.

python notebooks/run.py [NOTEBOOK …]            run them; the copies with outputs are in
                                                outputs/notebooks
python notebooks/run.py --clean [NOTEBOOK …]    take outputs out of the files themselves
python notebooks/run.py --check [NOTEBOOK …]    exit code 1 if there is one to take out
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUTPUT = ROOT / "outputs" / "notebooks"
CELL_SECONDS = 600
"""How long a cell may take: a busy machine is no failure."""
WITHOUT_WIDGETS = "ignore:IProgress not found"
"""tqdm misses ipywidgets, which nothing here needs."""
KEPT = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of this folder")
    parser.add_argument("--clean", action="store_true", help="take outputs out of the files")
    parser.add_argument("--check", action="store_true", help="say which files have outputs")
    asked = parser.parse_args()
    paths = asked.notebooks or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        try:
            nbformat.read(path, as_version=4)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            parser.error(f"{path}: no notebook can be read there ({type(error).__name__})")
    if asked.check:
        dirty = [path.name for path in paths if path.read_text(encoding="utf-8") != cleaned(path)]
        if dirty:
            print(f"error: {', '.join(dirty)}: not clean; use --clean", file=sys.stderr)
        return int(bool(dirty))
    for path in paths:
        if asked.clean:
            path.write_text(cleaned(path), encoding="utf-8")
            continue
        started = time.perf_counter()
        try:
            written = run(path, OUTPUT)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            return 1
        print(f"{written}  {time.perf_counter() - started:.0f} s")
    return 0


def run(path: Path, output: Path, *, folder: Path | None = None) -> Path:
    """Run every cell in a fresh kernel in `folder` (default: the notebook's).

    Returns the copy with outputs, which is also written if a cell fails: CellExecutionError.
    """
    output.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder or path.parent)}},
    )
    copy = output / path.name
    try:
        client.execute(env={**os.environ, "PYTHONWARNINGS": WITHOUT_WIDGETS})
    finally:
        nbformat.write(notebook, copy)
    return copy


def cleaned(path: Path) -> str:
    """The file's text without outputs, counts and whatever editors leave."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = KEPT
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    sys.exit(main())
