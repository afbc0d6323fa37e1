from __future__ import annotations

import pytest

from benchmarks.servers.wrk import crowd, encode, read

OUTPUT = "Running 1s test\nFIGURES 1200 2000000 1500.000000 9000.500000 200 3\n"


def test_figures_of_wrk_are_read():
    pressed, broken = read(OUTPUT)
    assert (pressed.offered, pressed.per_second) == (600.0, 500.0)
    assert (pressed.p50_ms, pressed.p99_ms) == (1.5, 9.0005)
    assert broken == 3


def test_output_without_figures_is_not_read():
    assert read("unable to connect to 127.0.0.1:1") is None


@pytest.mark.parametrize("rate", [0.5, 140.0, 5000.0])
def test_a_crowd_makes_the_rate_it_was_asked_for(rate):
    connections, think = crowd(rate, answer_seconds=0.02)
    assert 1 <= connections <= 512
    assert connections / (think + 0.02) == pytest.approx(rate)


def test_bodies_are_compact_json():
    assert encode([{"input": [1, 2.5]}]) == (b'{"input":[1,2.5]}',)
