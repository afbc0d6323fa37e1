"""The sentry: what counts as one tick, and what it knows of whom."""

from __future__ import annotations

from serving.routing.guardrail import Verdict
from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes
from serving.routing.sentry import Sentry
from serving.run import Run
from tests.observed import bad_challenger, settled_split


def verdicts(sentry: Sentry) -> dict[str, Verdict]:
    return {found.version: found.judgement.verdict for found in sentry.findings()}


def requests(status: int, count: int, *, seconds: float = 0.01) -> Outcomes:
    outcomes = Outcomes()
    for _ in range(count):
        outcomes.record(status, [Run(seconds)])
    return outcomes


def test_a_tick_is_judged_when_it_is_over():
    sentry = Sentry()
    sentry.settled(settled_split({1: 90.0, 2: 10.0}))
    good, bad = bad_challenger().items()
    sentry.observed(Observed(dict([good]), 7))
    sentry.observed(Observed(dict([bad]), 7))
    assert verdicts(sentry) == {}
    sentry.observed(Observed({}, 8))
    assert verdicts(sentry) == {"2": Verdict.ROLLBACK}


def test_who_tells_late_is_heard_in_the_next_tick():
    sentry = Sentry()
    sentry.settled(settled_split({1: 90.0, 2: 10.0}))
    good, bad = bad_challenger().items()
    sentry.observed(Observed({}, 8))
    sentry.observed(Observed(dict([good]), 8))
    sentry.observed(Observed(dict([bad]), 7))
    sentry.observed(Observed({}, 9))
    assert verdicts(sentry) == {"2": Verdict.ROLLBACK}


def test_a_challenger_has_one_guardrail_for_all_stages_with_one_champion():
    sentry = Sentry()

    def guardrail(percent: dict[int, float]) -> object:
        sentry.settled(settled_split(percent))
        return sentry._posts["models:/m"].guardrails["2"]

    first = guardrail({1: 99.0, 2: 1.0})
    assert guardrail({1: 95.0, 2: 5.0}) is first
    assert guardrail({1: 75.0, 2: 15.0, 3: 10.0}) is first
    assert guardrail({0: 95.0, 2: 5.0}) is not first


def test_nothing_is_kept_of_who_has_no_traffic():
    sentry = Sentry()
    for number in range(2, 50):
        sentry.settled(settled_split({1: 90.0, number: 10.0}))
        sentry.observed(Observed(bad_challenger(), number))
    sentry.settled(settled_split({1: 100.0}))
    assert sentry._posts["models:/m"].guardrails == {}
    assert sentry._seen == {}


def test_who_was_judged_and_has_traffic_again_starts_anew_and_the_others_go_on():
    sentry = Sentry()
    split = settled_split({1: 80.0, 2: 10.0, 3: 10.0})
    sentry.settled(split)
    before = dict(sentry._posts["models:/m"].guardrails)
    sentry.forget("models:/m", "2")
    sentry.settled(split)
    after = sentry._posts["models:/m"].guardrails
    assert after["2"] is not before["2"]
    assert after["3"] is before["3"]


def test_what_was_seen_of_the_split_before_is_no_tick_of_the_next_one():
    sentry = Sentry()
    sentry.settled(settled_split({1: 90.0, 2: 10.0}))
    sentry.observed(Observed(bad_challenger(), 1))
    sentry.settled(settled_split({1: 50.0, 2: 50.0}))
    sentry.observed(Observed({("m", "1"): requests(200, 30), ("m", "2"): requests(200, 30)}, 1))
    sentry.observed(Observed({}, 2))
    assert verdicts(sentry) == {}
