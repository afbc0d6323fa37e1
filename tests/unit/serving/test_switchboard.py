"""What the supervisor says to processes that do not listen."""

from __future__ import annotations

from multiprocessing.connection import Pipe
from types import SimpleNamespace

import pytest

from serving.slot import API, WORKER, Child, Slot
from serving.switchboard import Switchboard

LONG = "x" * 1000
MANY = 2000
"""Of which no pipe holds as many."""


def slot(kind: str = API, *, ready: bool = True):
    """Filled by a process, and what it hears."""
    ours, theirs = Pipe()
    child = Child(SimpleNamespace(pid=1), ours, ready_since=0.0 if ready else None)
    return Slot(kind, 0, child), theirs


def test_nobody_is_waited_for_and_nothing_is_lost():
    deaf, hears = slot()
    board = Switchboard([deaf])
    for number in range(MANY):
        board.tell(API, (number, LONG))
    assert board.unsaid
    heard = []
    while len(heard) < MANY:
        while hears.poll():
            heard.append(hears.recv()[0])
        board.say()
    assert heard == list(range(MANY))
    assert not board.unsaid


def test_who_does_not_listen_keeps_nobody_else_from_hearing():
    (deaf, _), (other, hears) = slot(), slot()
    board = Switchboard([deaf, other])
    for number in range(MANY):
        board.tell(API, (number, LONG))
        assert hears.recv()[0] == number
    board.say()
    assert board.unsaid


def test_what_is_offered_is_lost_where_there_is_no_room():
    deaf, hears = slot()
    board = Switchboard([deaf])
    for number in range(MANY):
        board.offer(API, (number, LONG))
    assert not board.unsaid
    heard = []
    while hears.poll():
        heard.append(hears.recv()[0])
    assert heard == list(range(len(heard)))
    assert 0 < len(heard) < MANY


def test_who_is_not_ready_is_told_but_offered_nothing():
    starting, hears = slot(ready=False)
    board = Switchboard([starting])
    board.offer(API, 1)
    board.tell(WORKER, 2)
    assert not hears.poll()
    board.tell(API, 3)
    assert hears.recv() == 3


@pytest.mark.parametrize("say", ["tell", "offer"])
def test_the_dead_are_told_nothing(say):
    dead, hears = slot()
    hears.close()
    board = Switchboard([dead, Slot(API, 1)])
    getattr(board, say)(API, 1)
    board.say()
    assert not board.unsaid
