"""Where runs and models are recorded: one rule for every room, known without loading MLflow."""

from __future__ import annotations

import os

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the working directory."""


def tracking_uri(uri: str | None = None) -> str:
    """What was asked for, else the environment's MLFLOW_TRACKING_URI, else `DEFAULT_URI`."""
    return uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
