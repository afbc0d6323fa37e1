"""docs/getting-started.md, typed in from top to bottom in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.child import served
from tests.docs.markdown import ROOT, page

COMMANDS = ("train.py", "export.py", "serve.py", "models.py")
PATIENCE = 900
"""Seconds that a block may take: a busy machine is no failure."""
SERVER = re.compile(r"^python serve\.py (.+) --port 8000(.*)$")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands are, and nothing else."""
    for name in COMMANDS:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.docs
@pytest.mark.timeout(1800)
def test_the_page_can_be_typed_in_from_top_to_bottom(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("TRAINYARD_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    blocks = [block for block in page("docs/getting-started.md").blocks if not block.not_run]
    [server] = [index for index, block in enumerate(blocks) if SERVER.match(block.text)]

    before = [run(block.language, block.text) for block in blocks[:server]]
    assert "test/accuracy" in before[0]
    assert "digits-mlp" in before[1]

    [(model, more)] = SERVER.findall(blocks[server].text)
    with served([*model.split(), *more.split()], log=folder / "serve.log") as url:
        texts = [
            (block.language, block.text.replace("http://127.0.0.1:8000", url))
            for block in blocks[server + 1 :]
        ]
        said = [run(*text) for text in texts]

    answer, health = (json.loads(line) for line in re.findall(r"\{.*?\}(?=\{|\n?$)", said[1]))
    assert answer["prediction"]["label"] == "0"
    assert answer["version"] == "1"
    assert health["status"] == "ready"
    assert "rollback" in said[2]
    assert len(said) == 3


def run(language: str, text: str) -> str:
    """What it prints."""
    command = ["bash", "-e", "-u", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout
