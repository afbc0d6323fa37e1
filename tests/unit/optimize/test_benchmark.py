"""Real processes, on a model so small that they take a moment."""

from __future__ import annotations

import threading

import numpy as np
import psutil
import pytest

from bundle.archive import sha256_file
from bundle.errors import Stopped
from optimize.benchmark import run_contest
from optimize.contestant import Contestant, Kind, take_turn
from optimize.errors import OptimizeError
from optimize.schema import BenchmarkConfig
from tests.tiny_bundle import image_model

BATCHES = {size: {"image": np.zeros((size, 3, 6, 5), dtype=np.uint8)} for size in (1, 4)}
QUICK = BenchmarkConfig(rounds=3, seconds=0.01)


def contestant(folder, name, content=None, **changes) -> Contestant:
    path = folder / f"{name}.onnx"
    path.write_bytes(image_model() if content is None else content)
    fields = {"kind": Kind.onnx, "path": path, "sha256": sha256_file(path), **changes}
    return Contestant(name=name, **fields)


def contest(*contestants, threads=1):
    return run_contest(contestants, BATCHES, QUICK, threads=threads, baseline=contestants[0].name)


def test_contest_times_everyone_and_leaves_out_who_fails(tmp_path):
    broken = contestant(tmp_path, "broken", b"no graph")
    found = contest(contestant(tmp_path, "one"), broken, contestant(tmp_path, "two"))
    assert list(found.timings) == ["one", "two"]
    assert {size for by_size in found.timings.values() for size in by_size} == {1, 4}
    assert all(t.calls >= 3 for by_size in found.timings.values() for t in by_size.values())
    assert found.timings["one"][1].speedup == 1.0
    assert found.timings["two"][4].speedup > 0
    assert list(found.failed) == ["broken"]
    assert "EngineError: ONNX Runtime cannot load broken.onnx" in found.failed["broken"]
    assert 0 <= found.load["others"] <= 1
    assert len(found.load["average"]) == 3
    running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in running if str(tmp_path) in " ".join(line)]


def test_contest_is_refused_at_once_when_the_baseline_fails(tmp_path):
    both = [contestant(tmp_path, "broken", b"no graph"), contestant(tmp_path, "one")]
    done: list[int] = []
    with pytest.raises(OptimizeError, match="the baseline broken cannot be timed"):
        run_contest(both, BATCHES, QUICK, threads=1, baseline="broken", advance=done.append)
    assert done == []


def test_turn_is_one_call_at_least():
    turn = take_turn(lambda batch: batch, {}, seconds=0)
    assert len(turn.nanoseconds) == 1
    assert turn.cores >= 0


def test_turn_lasts_as_long_as_it_is_given():
    turn = take_turn(lambda _: sum(range(1000)), {}, seconds=0.02)
    assert sum(turn.nanoseconds) <= 0.02e9 * 2 + max(turn.nanoseconds)
    assert len(turn.nanoseconds) > 1


def test_timer_does_not_outlive_a_signal_that_comes_while_it_starts(tmp_path, monkeypatch):
    """As SIGTERM may: between the thread's beginning and the return of `start`."""
    timers, start = [], threading.Timer.start

    def interrupted(timer):
        start(timer)
        timers.append(timer)
        raise Stopped

    monkeypatch.setattr(threading.Timer, "start", interrupted)
    with pytest.raises(Stopped):
        contest(contestant(tmp_path, "one"))
    (timer,) = timers
    assert timer.daemon
    assert timer.finished.is_set()
