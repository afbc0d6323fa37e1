from __future__ import annotations

import gc
from types import SimpleNamespace

from serving.api import ApiProcess
from serving.crowd import Crowd


def test_api_process_freezes_what_it_holds_once_it_is_ready():
    sent: list[object] = []
    process = SimpleNamespace(
        _listening=True,
        _lifecycle=SimpleNamespace(started=True),
        _told_ready=False,
        _sender=SimpleNamespace(send=sent.append),
    )
    try:
        ApiProcess._tell_ready(process)
        assert len(sent) == 1
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_api_process_is_left_connections_once_it_listens():
    crowd = Crowd(2)
    other = crowd.place(0)
    other.tell(3)
    process = SimpleNamespace(_place=crowd.place(1), _tell_ready=lambda: None)
    assert not other.crowded
    ApiProcess._started_listening(process)
    assert other.crowded
