from __future__ import annotations

import socket

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
