"""docs/serving.md: its examples run, its tables are complete, its addresses exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from prometheus_client.metrics import MetricWrapperBase

from serving.gpu_metrics import _READINGS
from serving.guard import read_keys
from serving.metrics import MetricsCollector
from serving.routing.shadow_metrics import ShadowMetrics
from tests.docs.markdown import page
from tests.running_server import ROOT, RunningServer, running_server
from tests.serving_page import PAGE, metric_names, settings_rows
from tests.tiny_bundle import encode


def examples(language: str) -> list[str]:
    """The blocks of that language, but those that say why they are not run."""
    blocks = page("docs/serving.md").blocks
    return [block.text for block in blocks if block.language == language and not block.not_run]


SHELL, PYTHON = examples("sh"), examples("python")


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "picture.png").write_bytes(encode(np.full((8, 8), 200, np.uint8)))
    with running_server(
        *("--model", str(bundles / "image"), "--model", str(bundles / "text")),
        *("--model", str(bundles / "double.onnx"), "--threads", "1", "--cache-mb", "1"),
        folder=folder,
    ) as server:
        yield server


def run(server: RunningServer, command: list[str]) -> str:
    folder = server.log_file.parent
    environment = {**os.environ, "URL": server.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl")
@pytest.mark.parametrize("block", SHELL, ids=range(len(SHELL)))
def test_shell_examples_of_the_page_are_answered(server, block):
    answers = run(server, ["bash", "-e", "-u", "-c", block])
    assert answers.count('"id"') == len(re.findall(r"^curl ", block, flags=re.MULTILINE))


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_examples_of_the_page_run(server, block):
    assert run(server, [sys.executable, "-c", f"URL = {server.url!r}\n{block}"])


def test_the_table_of_settings_is_that_of_the_code():
    found = [line for line in PAGE.read_text().splitlines() if line.startswith("| `--")]
    assert found == settings_rows(), "the rows are tests.serving_page.settings_rows()"


def test_every_metric_of_a_server_has_a_line_and_no_line_is_idle(server, client):
    for body in ({"inputs": {"x": [1, 2, 3, 4]}}, {"inputs": {"x": [1]}}):
        client.post("/predict", json=body | {"model": "double"})
    for _ in range(2):
        client.post("/predict", json={"text": "good", "model": "moods"})
    totals = {"counter": "_total"}
    live = {name + totals.get(kind, "") for name, kind in server.scrape().types.items()}
    declared = {
        metric._name + totals.get(metric._type, "")
        for metric in (*vars(MetricsCollector()).values(), *vars(ShadowMetrics()).values())
        if isinstance(metric, MetricWrapperBase)
    } | {reading.name for reading in _READINGS}
    documented = metric_names() - {"trainyard_registry_age_seconds"}  # asks no registry
    assert live <= documented
    assert documented - declared <= live
    assert declared <= documented


def test_probes_of_the_page_exist_and_its_keys_are_read(client, tmp_path):
    text = PAGE.read_text()
    paths = set(re.findall(r"`(/health[a-z/]*|/metrics|/openapi\.json)`", text))
    paths |= set(re.findall(r"path: (/[a-z/]+)", text))
    assert len(paths) >= 4
    for path in paths:
        assert client.get(path).status_code == 200, path
    [block] = examples("toml")
    block = block.replace("…64 hexadecimal digits…", "ab" * 32)
    assert tomllib.loads(block)
    (tmp_path / "keys.toml").write_text(block)
    assert read_keys(str(tmp_path / "keys.toml"), {})[0].max_in_flight == 100
