"""What a worker said of its queue, and whom that concerns."""

from __future__ import annotations

import pytest

from serving.backlog import LONGEST, Backlog

MODEL = ("digits", "1")


@pytest.fixture
def backlog():
    """A request of two samples with one second left was turned away at 100.0: 0.05 s too late."""
    found = Backlog()
    found.refused(MODEL, samples=2, left=1.0, late=0.05, wait=1.02, now=100.0)
    return found


def test_who_has_no_more_time_and_no_fewer_samples_would_be_turned_away_too(backlog):
    assert backlog.wait(MODEL, samples=2, left=1.0, now=100.04) == pytest.approx(0.98)
    assert backlog.wait(MODEL, samples=8, left=0.2, now=100.0) == pytest.approx(1.02)


@pytest.mark.parametrize(
    ("model", "samples", "left", "now"),
    [
        (("digits", "2"), 2, 1.0, 100.0),
        (MODEL, 1, 1.0, 100.0),
        (MODEL, 2, 1.01, 100.0),
        (MODEL, 2, 1.0, 100.05),
    ],
    ids=["another model", "fewer samples", "more time", "later"],
)
def test_others_have_to_ask(backlog, model, samples, left, now):
    assert backlog.wait(model, samples=samples, left=left, now=now) is None


def test_it_is_not_believed_for_long_however_late_the_request_would_have_been():
    found = Backlog()
    found.refused(MODEL, samples=1, left=0.1, late=60.0, wait=60.0, now=5.0)
    assert found.wait(MODEL, samples=1, left=0.1, now=5.0 + 0.9 * LONGEST) is not None
    assert found.wait(MODEL, samples=1, left=0.1, now=5.0 + LONGEST) is None
