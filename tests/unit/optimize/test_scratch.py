from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from optimize.scratch import scratch

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_next_run_sweeps_what_killed_ones_left_and_nothing_of_those_that_live(tmp_path):
    for name in ("trainyard-export-killed", "trainyard-bench-killed", "others"):
        (tmp_path / name).mkdir()
    with scratch("export") as living, scratch("bench") as another:
        assert set(tmp_path.iterdir()) == {living, another, tmp_path / "others"}
    assert set(tmp_path.iterdir()) == {tmp_path / "others"}


def test_benchmarks_folder_is_swept_by_the_next_export_when_it_was_killed(tmp_path):
    """It holds the batches, which can be large."""
    code = (
        "import os, signal; from optimize import benchmark;"
        "benchmark.np.savez = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL);"
        "benchmark.run_contest([], {}, None, threads=1, baseline='')"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("trainyard-bench-")
    with scratch("export") as living:
        assert set(tmp_path.iterdir()) == {living}
