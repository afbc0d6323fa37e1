"""Which requests have a line in the log."""

from __future__ import annotations

import logging

import pytest

from serving.access import AccessLog
from serving.exchange import Exchange
from serving.line_limit import MOST_LINES_A_SECOND

SCOPE = {"method": "POST", "path": "/predict", "headers": [(b"x-request-id", b"mine")]}


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, logger="serving")

    def told(access: AccessLog, status: int, seconds: float) -> list[logging.LogRecord]:
        caplog.clear()
        exchange = Exchange.begin(SCOPE, route="/predict")
        access.request(SCOPE, exchange, status=status, seconds=seconds)
        return list(caplog.records)

    return told


@pytest.mark.parametrize(
    ("status", "seconds", "level"),
    [
        (500, 0.1, "WARNING"),
        (504, 0.1, "WARNING"),
        (503, 0.1, "DEBUG"),
        (400, 0.1, "DEBUG"),
        (200, 0.1, "DEBUG"),
        (200, 1.0, "INFO"),
        (400, 2.0, "INFO"),
        (500, 2.0, "WARNING"),
    ],
)
def test_faults_are_warnings_and_slow_requests_informations(lines, status, seconds, level):
    [line] = lines(AccessLog(slow_seconds=1.0), status, seconds)
    assert line.levelname == level
    assert line.fields["id"] == "mine"
    assert (line.fields["status"], line.fields["path"]) == (status, "/predict")
    assert line.fields["ms"] == seconds * 1000


def test_nothing_is_slow_unless_said_so(lines):
    [line] = lines(AccessLog(), 200, 100.0)
    assert line.levelname == "DEBUG"


def test_a_flood_of_faults_is_told_in_a_few_lines_that_count_the_others(lines, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("serving.line_limit.time.monotonic", lambda: now[0])
    access = AccessLog()
    told = [len(lines(access, 500, 0.1)) for _ in range(3 * MOST_LINES_A_SECOND)]
    assert sum(told) == MOST_LINES_A_SECOND
    now[0] += 1
    [line] = lines(access, 500, 0.1)
    assert line.fields["left_out"] == 2 * MOST_LINES_A_SECOND
    [line] = lines(access, 500, 0.1)
    assert "left_out" not in line.fields
