from __future__ import annotations

import logging
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serving.conductor import Conductor
from serving.metrics import MetricsCollector
from serving.routing.messages import Call, Look, Result
from serving.slot import API, WATCHER, Slot


class Board:
    """With processes of these kinds that hear."""

    def __init__(self, *hear: str) -> None:
        self.hear = {*hear}
        self.offered: list[object] = []
        self.sent: list[object] = []

    def find(self, kind, index):
        return Slot(kind, index) if kind in self.hear else None

    def send(self, slot, message):
        self.sent.append(message)

    def offer(self, kind, message):
        if kind in self.hear:
            self.offered.append(message)


def test_a_look_that_is_asked_for_before_anybody_can_take_one_is_taken_when_one_can():
    board = Board()
    fleet = SimpleNamespace(sources=(), shadows=(), settled=(), routes=(), refused=())
    conductor = Conductor(fleet, board=board, metrics=MetricsCollector())
    for _ in range(3):
        conductor.hear(Slot(API, 0), Look())
    board.hear.add(WATCHER)
    conductor.ready(Slot(API, 1))
    assert board.offered == []
    conductor.ready(Slot(WATCHER, 0))
    conductor.ready(Slot(WATCHER, 0))
    assert board.offered == [Look()]
    conductor.hear(Slot(API, 0), Look())
    assert board.offered == [Look(), Look()]


def conductor_of(board: Board, *wanted: str) -> Conductor:
    fleet = SimpleNamespace(sources=(), shadows=(), settled=(), routes=(), wanted=wanted)
    return Conductor(fleet, board=board, metrics=MetricsCollector())


CALL = Call(id=7, action="rollback", principal="boss", request_id="r", model="digits")


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level(logging.INFO)


def test_what_admins_ask_for_is_refused_where_no_registry_is_followed(caplog):
    board = Board(API)
    conductor_of(board).hear(Slot(API, 0), CALL)
    [result] = board.sent
    assert (result.id, result.status) == (7, 404)
    assert "try again" not in result.document["remedy"]
    assert [(line.fields["principal"], line.fields["status"]) for line in audited(caplog)] == [
        ("boss", 404)
    ]


def test_what_admins_ask_for_waits_for_a_watcher():
    board = Board(API)
    conductor = conductor_of(board, "models:/digits")
    conductor.hear(Slot(API, 0), CALL)
    conductor.hear(Slot(API, 1), replace(CALL, id=8))
    assert board.sent == []
    board.hear.add(WATCHER)
    conductor.ready(Slot(WATCHER, 0))
    conductor.ready(Slot(WATCHER, 0))
    assert board.sent == [replace(CALL, process=0), replace(CALL, id=8, process=1)]
    conductor.buried(Slot(WATCHER, 0))
    assert [result.id for result in board.sent[2:]] == [7, 8]


def test_what_nobody_waits_for_any_more_is_dropped_and_written_down(caplog):
    board = Board(API)
    conductor = conductor_of(board, "models:/digits")
    conductor.hear(Slot(API, 0), replace(CALL, expires=time.monotonic() - 1))
    conductor.hear(Slot(API, 0), replace(CALL, id=8))
    assert [(result.id, result.status) for result in board.sent] == [(7, 504)]
    assert [line.fields["status"] for line in audited(caplog)] == [504]


def test_a_server_that_stops_answers_what_waits_for_a_watcher(caplog):
    board = Board(API)
    conductor = conductor_of(board, "models:/digits")
    conductor.hear(Slot(API, 0), CALL)
    conductor.drain()
    conductor.hear(Slot(API, 0), replace(CALL, id=8))
    assert [(result.id, result.status) for result in board.sent] == [(7, 503), (8, 503)]
    assert "nothing was done" in board.sent[0].document["message"]
    assert len(audited(caplog)) == 2


def test_a_watcher_that_takes_anothers_place_looks_at_once():
    board = Board(WATCHER)
    conductor = conductor_of(board, "models:/digits")
    conductor.buried(Slot(WATCHER, 0))
    conductor.ready(Slot(WATCHER, 0))
    assert board.offered == [Look()]


def test_what_the_watcher_was_asked_is_answered_when_it_dies(caplog):
    board = Board(API, WATCHER)
    conductor = conductor_of(board, "models:/digits")
    conductor.hear(Slot(API, 0), CALL)
    conductor.hear(Slot(API, 0), replace(CALL, id=8))
    conductor.hear(Slot(WATCHER, 0), Result(8, 0, 200, {}))
    board.sent.clear()
    assert not conductor.buried(Slot(WATCHER, 0))
    assert not conductor.buried(Slot(WATCHER, 0))
    [result] = board.sent
    assert (result.id, result.process, result.status) == (7, 0, 503)
    assert "may have been made" in result.document["message"]
    assert len(audited(caplog)) == 1


def audited(caplog):
    return [line for line in caplog.records if line.message == "audit"]
