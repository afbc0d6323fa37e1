from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.held import held_folder, sweep
from bundle.publish import staging, sweep_staging

HOLD = """
import sys, time
from pathlib import Path
from bundle.publish import staging
with staging(Path(sys.argv[1])) as folder:
    (folder / "model.onnx").write_text("weights")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_folder_is_removed_in_the_end(tmp_path):
    with held_folder(lambda: Path(tmp_path / "a").mkdir() or tmp_path / "a") as folder:
        (folder / "file").touch()
        sweep([folder])
        assert (folder / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path):
    target = tmp_path / "b"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        folder = Path(process.stdout.readline().strip())
        sweep_staging(target)
        assert (folder / "model.onnx").exists()
        process.send_signal(signal.SIGKILL)
    assert folder.exists()
    with staging(tmp_path / "other"):
        sweep_staging(tmp_path / "other")
    assert folder.exists()
    sweep_staging(target)
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["link", "file", "gone"])
def test_what_is_no_folder_is_left_alone(kind, tmp_path):
    mine, path = tmp_path / "mine", tmp_path / "path"
    mine.mkdir()
    if kind == "link":
        path.symlink_to(mine)
    elif kind == "file":
        path.touch()
    before = set(tmp_path.iterdir())
    sweep([path])
    assert set(tmp_path.iterdir()) == before


def test_folder_of_another_user_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    sweep([tmp_path])
    assert tmp_path.exists()
