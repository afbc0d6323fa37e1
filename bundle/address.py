"""Where runs and models are recorded: one rule for every room, known without loading MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the working directory."""
_SQLITE = "sqlite:///"


def tracking_uri(uri: str | None = None) -> str:
    """What was asked for, else the environment's MLFLOW_TRACKING_URI, else `DEFAULT_URI`."""
    return uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI


def absolute_uri(uri: str) -> str:
    """The same place, whatever the working directory: a file's path is relative to that."""
    file = sqlite_file(uri)
    if file is not None:
        return f"{_SQLITE}{file.absolute()}"
    return uri if ":" in uri else str(Path(uri).absolute())


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None if it is another one, or a server."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0]))
