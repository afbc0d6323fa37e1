"""What the server's processes write: lines of JSON, also where MLflow would write pages."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

READ_A_REGISTRY_THAT_LOSES_ITS_TABLES = """
import logging
import sys
from pathlib import Path
from serving.logs import configure_logging
configure_logging("info")
from bundle.errors import RegistryError
from bundle.registry import ModelRegistry
database, damaged = sys.argv[1:]
registry = ModelRegistry(f"sqlite:///{database}")
assert registry.models() == []
Path(damaged).replace(database)
try:
    registry.models()
except RegistryError as error:
    logging.getLogger("serving").warning("told", extra={"fields": {"reason": str(error)}})
logging.getLogger("mlflow.tracking").warning("of a library")
"""


def test_a_registry_that_fails_is_told_in_one_line(empty_registry, tmp_path, pytestconfig):
    database, damaged = tmp_path / "mlflow.db", tmp_path / "damaged.db"
    shutil.copy(empty_registry, database)
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("create table something_else (x)")

    done = subprocess.run(
        [sys.executable, "-c", READ_A_REGISTRY_THAT_LOSES_ITS_TABLES, database, damaged],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=True,
    )

    told, other = (json.loads(line) for line in done.stderr.splitlines())
    assert (told["event"], other["event"]) == ("told", "of a library")
    assert "no such table" in told["reason"]
    assert done.stdout == ""
