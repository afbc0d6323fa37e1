"""Patience: how long a server waits for its registry."""

from __future__ import annotations

import os

SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Of MLflow, which would try again for minutes: at the start nothing would be served meanwhile, and
later nobody would notice that the registry is back."""


def bound_patience() -> None:
    """Of this process, unless its environment says otherwise; before MLflow is first asked."""
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
