from __future__ import annotations

from types import SimpleNamespace

import pytest

from serving.conductor import Conductor
from serving.metrics import MetricsCollector
from serving.routing.messages import Call, Look
from serving.slot import API, WATCHER, Slot


class Board:
    """With a watcher that hears only when it is `ready`."""

    def __init__(self) -> None:
        self.ready = False
        self.offered: list[object] = []
        self.sent: list[object] = []

    def find(self, kind, index):
        return Slot(kind, index) if self.ready else None

    def send(self, slot, message):
        self.sent.append(message)

    def offer(self, kind, message):
        if self.ready:
            self.offered.append(message)


def test_a_look_that_is_asked_for_before_anybody_can_take_one_is_taken_when_one_can():
    board = Board()
    fleet = SimpleNamespace(sources=(), shadows=(), settled=(), routes=(), refused=())
    conductor = Conductor(fleet, board=board, metrics=MetricsCollector())
    for _ in range(3):
        conductor.hear(Slot(API, 0), Look())
    board.ready = True
    conductor.ready(Slot(API, 1))
    assert board.offered == []
    conductor.ready(Slot(WATCHER, 0))
    conductor.ready(Slot(WATCHER, 0))
    assert board.offered == [Look()]
    conductor.hear(Slot(API, 0), Look())
    assert board.offered == [Look(), Look()]


@pytest.mark.parametrize(("wanted", "status"), [(("models:/digits",), 503), ((), 404)])
def test_what_admins_ask_for_is_worth_another_try_only_where_a_registry_is_followed(wanted, status):
    board = Board()
    fleet = SimpleNamespace(sources=(), shadows=(), settled=(), routes=(), wanted=wanted)
    conductor = Conductor(fleet, board=board, metrics=MetricsCollector())
    call = Call(id=7, action="list", principal="boss", request_id="r", model="", arguments={})
    conductor.hear(Slot(API, 0), call)
    [result] = board.sent
    assert (result.id, result.status) == (7, status)
    assert ("try again" in result.document["remedy"]) == bool(wanted)
