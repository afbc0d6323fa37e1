from __future__ import annotations

from types import SimpleNamespace

from serving.conductor import Conductor
from serving.metrics import MetricsCollector
from serving.routing.messages import Look
from serving.slot import API, WATCHER, Slot


class Board:
    """With a watcher that hears only when it is `ready`."""

    def __init__(self) -> None:
        self.ready = False
        self.offered: list[object] = []

    def find(self, kind, index):
        return Slot(kind, index) if self.ready else None

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
