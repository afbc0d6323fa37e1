from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITH_WRK = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def run(*arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@WITH_WRK
@pytest.mark.soak
def test_benchmark_plays_every_scenario_when_quick(tmp_path):
    output = tmp_path / "serving.json"
    shown = run("benchmarks/serving.py", "--quick", f"--output={output}")
    found = json.loads(output.read_text())["scenarios"]
    assert list(found) == ["null", "cnn", "minilm", "resnet18", "mixed", "idle", "overload"]
    for scenario in found.values():
        for rounds in scenario["sides"].values():
            assert all(value >= 0 for figures in rounds for value in figures.values())
        for claim in scenario["claims"].values():
            assert claim["low"] <= claim["median"] <= claim["high"]
    assert "requests/s, of LitServe's" in shown


@WITH_WRK
@pytest.mark.soak
def test_comparison_writes_its_table_and_picture_without_any_peer(tmp_path):
    page = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs" / "performance.md", page)
    run("-m", "benchmarks.peers.compare", "--quick", "--peer", "--load=null", f"--docs={tmp_path}")
    assert "| Trainyard |" in page.read_text()
    assert (tmp_path / "peers.svg").is_file()
