from __future__ import annotations

from bundle.address import DEFAULT_URI, tracking_uri


def test_address_is_what_was_asked_for_else_the_environments_else_a_file(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///environment.db")
    assert tracking_uri("sqlite:///config.db") == "sqlite:///config.db"
    assert tracking_uri(None) == "sqlite:///environment.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri() == DEFAULT_URI
