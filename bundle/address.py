"""Where runs and models are recorded: one rule for every room, known without loading MLflow."""

from __future__ import annotations

import os
from pathlib import Path

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the working directory."""
_SQLITE = "sqlite:///"


def tracking_uri(uri: str | None = None) -> str:
    """What was asked for, else the environment's MLFLOW_TRACKING_URI, else `DEFAULT_URI`."""
    return uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI


def absolute_uri(uri: str) -> str:
    """The same place, whatever the working directory: a file's path is relative to that."""
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}/"):
        return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())
    return uri if ":" in uri else str(Path(uri).absolute())
