"""What a worker said of its queue, and whom that concerns."""

from __future__ import annotations

import pytest

from serving.backlog import LONGEST, Backlog

MODEL = ("digits", "1")


@pytest.fixture
def backlog():
    """At 100.0 two samples were turned away: they would have been done at 101.05."""
    found = Backlog()
    found.refused(MODEL, samples=2, done=101.05, wait=1.02, now=100.0)
    return found


def test_who_cannot_be_in_time_either_would_be_turned_away_too(backlog):
    assert backlog.wait(MODEL, samples=2, deadline=101.0, now=100.04) == pytest.approx(0.98)
    assert backlog.wait(MODEL, samples=8, deadline=100.2, now=100.0) == pytest.approx(1.02)


@pytest.mark.parametrize(
    ("model", "samples", "deadline", "now"),
    [
        (("digits", "2"), 2, 101.0, 100.0),
        (MODEL, 1, 101.0, 100.0),
        (MODEL, 2, 101.05, 100.05),
        (MODEL, 2, 101.0, 100.0 + LONGEST),
    ],
    ids=["another model", "fewer samples", "a later deadline", "later"],
)
def test_others_have_to_ask(backlog, model, samples, deadline, now):
    assert backlog.wait(model, samples=samples, deadline=deadline, now=now) is None


def test_nobody_is_turned_away_for_those_who_have_run_by_then():
    found = Backlog()
    found.refused(MODEL, samples=1, done=105.0, wait=0.02, now=100.0)
    assert found.wait(MODEL, samples=1, deadline=101.0, now=100.01) == pytest.approx(0.01)
    assert found.wait(MODEL, samples=1, deadline=101.0, now=100.021) is None
