"""The report of a real run: left by the run, made again by the command, opened by a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import browser
from tests.training import train_tiny

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def _report(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.report", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def _without_date(page: Path) -> str:
    head, _, rest = page.read_text(encoding="utf-8").partition('<p class="made">')
    return head + rest.partition("</p>")[2]


def test_run_leaves_the_page_that_the_command_makes_from_its_folder_and_from_mlflow(
    tracking_uri, tmp_path
):
    folder = tmp_path / "run"
    train_tiny(folder, "trainer.max_epochs=1", "tracking=mlflow", "trainer.report=true")
    left = _without_date(folder / "report.html")
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"learning_curves.png", "confusion_matrix.png", "calibration.png"} <= pictures

    done = _report(str(folder), "--output", "again.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "again.html\n"
    assert _without_date(tmp_path / "again.html").replace(">run<", "") == left.replace(">run<", "")

    run_id = json.loads((folder / "summary.json").read_text())["run_id"]
    stored = {item.path for item in MlflowClient(tracking_uri).list_artifacts(run_id)}
    assert {"report.html", "predictions.npz", "environment.json"} <= stored
    shutil.rmtree(folder)
    done = _report(run_id, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / done.stdout.strip()).read_text(encoding="utf-8")
    assert "Expected calibration error" in page
    assert "best.ckpt (not in the folder)" in page

    done = _report("f" * 32, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(browser.MISSING is not None, reason=str(browser.MISSING))
def test_page_opens_in_a_browser_without_a_complaint(tmp_path):
    folder = tmp_path / "run"
    train_tiny(folder, "trainer.max_epochs=1", "trainer.report=true")
    done = subprocess.run(
        [
            str(browser.PROGRAM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'browser'}",
            f"--screenshot={tmp_path / 'page.png'}",
            "--dump-dom",
            (folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr  # also what the page's own policy refuses
    assert done.stdout.count("<section") == 12
    assert (tmp_path / "page.png").stat().st_size > 20_000
