from __future__ import annotations

import time

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

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


@pytest.mark.parametrize("name", ["unique-cats", "deadlock"])
def test_call_is_not_tried_again_when_a_name_reads_like_contention(name, sleeps):
    message = f"Registered Model (name={name}) already exists."
    with pytest.raises(MlflowException, match="already exists"):
        MlflowStore("sqlite:///x.db").retry(
            failing(MlflowException(message, RESOURCE_ALREADY_EXISTS))
        )
    assert sleeps == []
