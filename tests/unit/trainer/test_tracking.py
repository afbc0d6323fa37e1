from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import PreflightError
from trainer.tracking import (
    DEFAULT_URI,
    LONGEST_VALUE,
    ExperimentTracker,
    MlflowTracker,
    flatten,
    shorten,
    tracking_uri,
)

ROOT = Path(__file__).resolve().parents[3]


def test_flatten_names_every_leaf():
    nested = {"a": {"b": 1, "c": {"d": None, "e": [1, "x"]}}, "f": "text", "g": {}, "h": 1e-5}
    assert flatten(nested) == {
        "a.b": "1",
        "a.c.d": "null",
        "a.c.e": '[1, "x"]',
        "f": "text",
        "g": "{}",
        "h": "1e-05",
    }


@given(st.text(max_size=20_000))
def test_shorten_fits_and_tells_different_texts_apart(text):
    short = shorten(text)
    assert len(short) <= LONGEST_VALUE
    assert (short == text) is (len(text) <= LONGEST_VALUE)


def test_shorten_differs_when_only_the_end_does():
    assert shorten("x" * 9000) != shorten("x" * 9001)


def test_uri_is_the_configs_else_the_environments_else_a_file(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///environment.db")
    assert tracking_uri("sqlite:///config.db") == "sqlite:///config.db"
    assert tracking_uri(None) == "sqlite:///environment.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(None) == DEFAULT_URI


def test_tracker_refuses_at_once_when_the_server_is_away():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(PreflightError, match="cannot be reached") as caught:
            MlflowTracker(uri, experiment="e", run_name="r", tags={})
    assert "tracking=none" in caught.value.remedy


def test_tracker_refuses_when_the_uri_is_nonsense():
    with pytest.raises(PreflightError, match=r"tracking\.uri=gopher"):
        MlflowTracker("gopher://nowhere", experiment="e", run_name="r", tags={})


START = """
import sys, time
from trainer.tracking import MlflowTracker
time.sleep(max(0, float(sys.argv[2]) - time.time()))
tracker = MlflowTracker(sys.argv[1], experiment="e", run_name="r", tags={})
tracker.finish("finished")
print(tracker.run_id)
"""


def test_trackers_share_a_database_that_none_of_them_found(tmp_path):
    uri = f"sqlite:///{tmp_path}/new.db"
    command = [sys.executable, "-c", START, uri, str(time.time() + 8)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    ids = {run.communicate(timeout=120)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(ids) == 3


def test_tracker_keeps_its_artifacts_beside_a_database_file(tmp_path):
    (tmp_path / "kept").write_text("here")
    tracker = MlflowTracker(
        f"sqlite:///{tmp_path}/mlflow.db", experiment="e", run_name="r", tags={}
    )
    tracker.log_file(tmp_path / "kept")
    assert list((tmp_path / "mlruns" / "e").rglob("kept"))


def test_tracker_without_a_server_takes_everything(tmp_path):
    tracker = ExperimentTracker()
    tracker.log_params({"a": 1})
    tracker.log_metrics({"loss": 1.0}, step=1)
    tracker.log_tags({"a": "b"})
    tracker.log_file(tmp_path)
    tracker.finish("finished")
    assert len(tracker.run_id) == 32


@pytest.mark.parametrize(
    ("status", "shown"), [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")]
)
def test_tracker_closes_the_run_as_it_ended(tracking_uri, status, shown):
    from mlflow import MlflowClient

    tracker = MlflowTracker(tracking_uri, experiment="e", run_name="r", tags={"k": "v"})
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.finish(status)
    run = MlflowClient(tracking_uri).get_run(tracker.run_id)
    assert run.info.status == shown
    assert run.info.run_name == "r"
    assert run.data.metrics == {"loss": 0.5}
    assert run.data.tags["k"] == "v"
