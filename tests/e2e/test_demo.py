"""The demo in miniature: every command of the line, one after the other, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bundle.archive import open_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demo_answers_over_http_what_it_trained_when_run_in_miniature(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples" / "demo.py")),
            *("--folder", str(tmp_path), "--images", "40"),
            *("model=mlp", "data=digits", "trainer.max_epochs=3"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    table = dict(line.strip().split("  ", 1) for line in done.stdout.splitlines() if line.strip())
    assert table["HTTP = in process"].strip() == "100.00%"
    summary = json.loads((tmp_path / "train" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert table["test accuracy"].strip() == f"{summary['metrics']['test/accuracy']:.2%}"
    assert summary["metrics"]["test/accuracy"] > 0.8
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.lineage["parity"]["max_abs_diff"] <= 1e-4
    assert manifest.labels == tuple("0123456789")
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info)]
