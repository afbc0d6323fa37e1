from __future__ import annotations

from serving.crowd import Crowd
from serving.server import TrainyardServer
from serving.settings import Settings


def test_who_has_more_connections_than_another_is_crowded():
    crowd = Crowd(3)
    first, second, third = map(crowd.place, range(3))
    for place, connections in ((first, 2), (second, 1), (third, 1)):
        place.tell(connections)
    assert [place.crowded for place in (first, second, third)] == [True, False, False]


def test_whoever_takes_the_place_of_another_begins_with_none():
    crowd = Crowd(2)
    crowd.place(0).tell(9)
    crowd.place(1).tell(4)
    assert crowd.place(1).crowded is False
    assert crowd.place(0).crowded is False


def test_nobody_leaves_connections_to_who_is_dead_or_takes_none_yet(tmp_path):
    server = TrainyardServer(Settings(api_processes=3), directory=tmp_path)
    first, second, _ = map(server._crowd.place, range(3))
    first.tell(5)
    assert not first.crowded  # nobody else takes any
    second.tell(1)
    assert first.crowded
    server.api_left(1)
    assert not first.crowded
    successor = server._crowd.place(1)
    assert not first.crowded
    successor.tell(0)
    assert first.crowded


def test_who_is_alone_is_never_crowded():
    place = Crowd(1).place(0)
    place.tell(99)
    assert not place.crowded


def test_who_leaves_last_is_told_so_and_stays_away():
    crowd = Crowd(2)
    first, second = map(crowd.place, range(2))
    first.tell(5)
    second.tell(1)
    assert not second.leave()
    second.tell(0)  # a connection of it has ended
    assert not first.crowded
    assert first.leave()
