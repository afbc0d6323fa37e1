from __future__ import annotations

import contextlib
import sqlite3
import time

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

from bundle.errors import RegistryError
from bundle.registry.store import ATTEMPTS, MlflowStore


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def failing(error: MlflowException):
    def call():
        raise error

    return call


def test_call_is_tried_again_when_another_writer_holds_the_database(sleeps):
    error = MlflowException("(sqlite3.OperationalError) database is locked", INTERNAL_ERROR)
    with pytest.raises(MlflowException):
        MlflowStore("sqlite:///x.db").retry(failing(error))
    assert len(sleeps) == ATTEMPTS - 1


@pytest.mark.parametrize("name", ["unique-cats", "deadlock", "database is locked"])
def test_call_is_not_tried_again_when_a_name_reads_like_contention(name, sleeps):
    message = f"Registered Model (name={name}) already exists."
    with pytest.raises(MlflowException, match="already exists"):
        MlflowStore("sqlite:///x.db").retry(
            failing(MlflowException(message, RESOURCE_ALREADY_EXISTS))
        )
    assert sleeps == []


def test_name_that_reads_like_a_lock_locks_nothing():
    error = MlflowException("Model (name=database is locked) exists.", RESOURCE_ALREADY_EXISTS)
    store = MlflowStore("sqlite:///x.db")
    with pytest.raises(RegistryError, match=r"failed: .*exists"), store._translated(None):
        raise error


def failed_statement(file, *, locked: bool) -> MlflowException:
    """As MLflow passes on what its database says of a statement."""
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.01})
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        if locked:
            other.execute("CREATE TABLE versions (secret)")
            other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.begin() as database:
            database.execute(sqlalchemy.text("INSERT INTO versions VALUES (:x)"), {"x": "hidden"})
    engine.dispose()
    return MlflowException(str(caught.value), INTERNAL_ERROR)


@pytest.mark.parametrize("locked", [True, False])
def test_failure_of_the_database_is_told_without_its_statement(locked, tmp_path):
    error = failed_statement(tmp_path / "mlflow.db", locked=locked)
    assert "INSERT" in str(error)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(RegistryError) as caught, MlflowStore(uri)._translated(None):
        raise error
    if locked:
        assert str(caught.value) == f"the registry {uri} is locked by another process"
        assert "run the same command again" in caught.value.remedy
    else:
        said = f"the registry {uri} failed: (sqlite3.OperationalError) no such table: versions"
        assert str(caught.value) == said
