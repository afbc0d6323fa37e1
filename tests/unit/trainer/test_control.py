from __future__ import annotations

import time

from trainer.control import ControlFolder


def test_worker_is_not_taken_for_silent_when_the_clock_is_set_forward(tmp_path, monkeypatch):
    control = ControlFolder(tmp_path)
    control.beat(0)
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert control.silent()[0] < 1800


def test_silence_lasts_from_one_batch_to_the_next(tmp_path, monkeypatch):
    control = ControlFolder(tmp_path)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    control.beat(0)
    control.beat(1)
    assert control.silent() == {0: 0.0, 1: 0.0}
    now = 107.0
    time.sleep(0.02)  # longer than the file system's clock takes to tick
    control.beat(1)
    assert control.silent() == {0: 7.0, 1: 0.0}
    control.rest(0)
    assert control.silent() == {1: 0.0}
    control.clear()
    assert control.silent() == {}
