from __future__ import annotations

import os
import tempfile
import time

import pytest

from optimize.scratch import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_next_run_sweeps_what_killed_ones_left_and_nothing_of_those_that_live(tmp_path):
    old, young = tmp_path / "trainyard-bench-old", tmp_path / "trainyard-bench-young"
    for path in (tmp_path / "trainyard-export-killed", old, young, tmp_path / "others"):
        path.mkdir()
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    with scratch("export") as living, scratch("compare") as another:
        assert set(tmp_path.iterdir()) == {living, another, young, tmp_path / "others"}
    assert set(tmp_path.iterdir()) == {young, tmp_path / "others"}
