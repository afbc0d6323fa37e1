from __future__ import annotations

from bundle.address import DEFAULT_URI, absolute_uri, tracking_uri


def test_address_is_what_was_asked_for_else_the_environments_else_a_file(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///environment.db")
    assert tracking_uri("sqlite:///config.db") == "sqlite:///config.db"
    assert tracking_uri(None) == "sqlite:///environment.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri() == DEFAULT_URI


def test_absolute_address_tells_folders_apart_and_leaves_servers_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("mlruns") == str(tmp_path / "mlruns")
    for uri in ("sqlite:////srv/mlflow.db", "http://mlflow:5000", "file:///srv/mlruns"):
        assert absolute_uri(uri) == uri
