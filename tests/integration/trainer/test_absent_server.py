"""Training while the MLflow server is away: nothing waits for it, and nothing is lost."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from tests.mlflow_server import MlflowServer
from tests.training import train_tiny
from tests.training_run import TrainingRun
from trainer.errors import Stopped
from trainer.metrics.metric import read_metrics
from trainer.replay import replay
from trainer.restore import restore
from trainer.tracking.journal import Journal
from trainer.tracking.sender import Sender

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:1"
OPTIONS = ("tracking=mlflow", "trainer.log_every=5", "trainer.max_epochs=8")
LONG = ("tracking=mlflow", "trainer.log_every=50", "trainer.max_epochs=100000")


def only_run(uri: str):
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("trainyard").experiment_id])
    return run


def check_complete(uri: str, folder: Path) -> None:
    """Every value of the run's files is on the server, once."""
    run = only_run(uri)
    client = MlflowClient(uri)
    files: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name in ("metrics.csv", "performance.csv"):
        for row in read_metrics(folder / name):
            files[row.name].append((row.step, row.value))
    for name, rows in files.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((m.step, m.value) for m in history) == sorted(rows), name
    events = {name for name in run.data.metrics if name.startswith("events/")}
    assert set(run.data.metrics) == set(files) | events
    assert "optim.lr" in run.data.params
    assert "git_commit" in run.data.tags
    stored = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "summary.json", "metrics.csv", "checkpoints"} <= stored


@pytest.mark.slow
def test_run_that_was_killed_is_one_complete_run_when_the_server_was_never_there(
    tmp_path, tracking_uri
):
    folder = tmp_path / "run"
    run = TrainingRun(folder, *LONG, f"tracking.uri={NOBODY}")
    run.until_step(22)
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    steps = run.saved_step()
    options = (*OPTIONS, f"tracking.uri={NOBODY}", f"trainer.max_epochs={steps // 22 + 3}")
    run = TrainingRun(folder, *options).finish()
    own_name = run.summary["run_id"]
    assert "send them with" in run.text
    assert run.summary["status"] == "finished"

    for _ in range(2):
        replay(folder, uri=tracking_uri)
    check_complete(tracking_uri, folder)
    found = only_run(tracking_uri)
    assert found.info.status == "FINISHED"
    assert found.data.tags["trainyard.run"] == own_name
    assert found.data.metrics["events/resume"] == 1
    assert run.summary["run_id"] == found.info.run_id
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert restore(checkpoint).metadata["run_id"] == found.info.run_id


@pytest.mark.slow
@pytest.mark.soak
def test_run_sends_what_waited_when_the_server_comes_back(tmp_path, empty_registry):
    server = MlflowServer(tmp_path, registry=empty_registry)
    folder = tmp_path / "run"
    journal = folder / "tracking.jsonl"
    server.begin()
    try:
        server.wait()
        run = TrainingRun(folder, *LONG, f"tracking.uri={server.uri}")
        try:
            run.until_step(44)
            server.kill()
            run.until(lambda: "cannot be reached" in run.text or "failed" in run.text)
            step = run.saved_step()
            run.until_step(step + 220)  # it trains on
            server.begin()
            server.wait()
            run.until(lambda: "the server is back" in run.text)
            run.signal(signal.SIGTERM)
            assert run.wait() == 143, run.text
        finally:
            run.end()
        left = Journal(journal)
        waiting = left.pending()
        left.close()
        assert waiting == [], run.text
        last = run.summary["steps"] // 22 + 2
        options = (*OPTIONS, f"tracking.uri={server.uri}", f"trainer.max_epochs={last}")
        TrainingRun(folder, *options).finish()
        check_complete(server.uri, folder)
        found = only_run(server.uri)
        assert found.info.run_id == run.summary["run_id"]
        assert found.info.status == "FINISHED"
        assert found.data.metrics["events/stop"] == 1
    finally:
        server.kill()


def test_run_stays_finished_when_it_is_stopped_while_it_sends_its_records(
    tmp_path, tracking_uri, monkeypatch, caplog
):
    def stopped(self, timeout):
        raise Stopped("stopped by SIGTERM")

    monkeypatch.setattr(Sender, "flush", stopped)
    with pytest.raises(Stopped):
        train_tiny(tmp_path, "tracking=mlflow", "trainer.max_epochs=1")
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"
    assert "send them with" in caplog.text
    monkeypatch.undo()
    assert "test/accuracy" in train_tiny(tmp_path, "tracking=mlflow", "trainer.max_epochs=1")
