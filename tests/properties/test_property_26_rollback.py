"""Property 26: a rollback moves the traffic to where it was, by a model that keeps every state.

The registry reads the way back out of a list of events. The model has each state point to the one
that the last change led away from.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ConflictError, RequestError
from bundle.registry.event import Event, read_events
from bundle.registry.ramp import advanced, first_stage
from bundle.registry.rollback import previous_routing
from bundle.registry.routing import Routing

VERSIONS = range(1, 5)
SPLITS = ({1: 90.0, 2: 10.0}, {1: 99.0, 2: 1.0}, {1: 60.0, 2: 30.0, 3: 10.0}, {2: 50.0, 4: 50.0})
CONFLICT = "conflict"


@dataclass(frozen=True)
class State:
    """How the traffic was for a while."""

    routing: Routing
    began: int
    """How many steps came before."""
    origin: State | None
    """What a rollback goes back to, if nothing forbids it."""
    withdrawn: bool = False
    """Whether a withdrawal led here."""


class Model:
    def __init__(self):
        self.state = State(Routing(champion=1), 0, None)
        self.steps = 0
        self.lost = dict.fromkeys(VERSIONS, 0)
        """When each version was withdrawn last."""

    def go(self, routing, *, origin, withdrawn=False):
        self.state = State(routing, self.steps, origin, withdrawn=withdrawn)

    def change(self, routing):
        """A promotion, a split, or a stage of a ramp."""
        state, ramp = self.state, self.state.routing.ramp
        goes_on = ramp is not None and routing.ramp == ramp
        ends = ramp is not None and routing == Routing(champion=ramp)
        same = routing == state.routing.traffic
        self.go(routing, origin=state.origin if goes_on or ends or same else state)

    def withdraw(self, number, routing):
        self.lost[number] = self.steps
        self.go(routing, origin=self.state.origin, withdrawn=True)

    def target(self):
        """Where a rollback leads: a state, None for nowhere, or a conflict."""
        withdrawn, candidate = self.state.withdrawn, self.state.origin
        while candidate is not None:
            traffic = candidate.routing.traffic
            if traffic == self.state.routing.traffic and withdrawn:
                return CONFLICT
            lost = any(self.lost[number] > candidate.began for number in traffic.shares)
            if traffic != self.state.routing and not lost:
                return candidate
            withdrawn, candidate = withdrawn or candidate.withdrawn, candidate.origin
        return None

    def rollback(self):
        target = self.target()
        if isinstance(target, State):
            self.state = replace(target, routing=target.routing.traffic)


class Registry:
    """The history of one model, kept as the registry keeps it."""

    def __init__(self):
        self.texts = []
        self.now = Routing()
        self.do("register", Routing(champion=1))

    def do(self, action, after, *, who="me"):
        time = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.texts))
        event = Event(time=time, who=who, action=action, before=self.now, after=after)
        self.texts.append(json.dumps(event.to_dict()))
        self.now = after

    def target(self):
        try:
            return previous_routing(
                read_events(self.texts, now=lambda: self.now), self.now, VERSIONS
            )
        except ConflictError:
            return CONFLICT


STEPS = st.one_of(
    st.tuples(st.just("promote"), st.sampled_from(VERSIONS)),
    st.tuples(st.just("split"), st.sampled_from(SPLITS)),
    st.tuples(st.just("ramp"), st.sampled_from(VERSIONS)),
    st.tuples(st.sampled_from(["withdraw", "old withdraw"]), st.sampled_from(VERSIONS)),
    st.tuples(st.sampled_from(["advance", "shadow", "rollback", "rollback"]), st.none()),
)


def after_change(step, given_value, now):
    """What the registry makes of it; None for nothing."""
    if step == "promote":
        return Routing(champion=given_value)
    if step == "split":
        return Routing(champion=now.champion, split=given_value)
    if step == "ramp" and given_value != now.champion:
        with suppress(RequestError):  # another ramp goes on, or a third version has traffic
            return first_stage("m", given_value, now)
    if step == "advance" and now.ramp is not None:
        return advanced(now, now.ramp, seen=now.shares[now.ramp])
    return None


def take(step, given_value, registry, model):
    model.steps += 1
    now = registry.now
    if step in ("withdraw", "old withdraw"):
        after = now.without(given_value)
        if after is not None:
            old = step == "old withdraw"
            registry.do("rollback" if old else step, after, who="guardrail" if old else "me")
            model.withdraw(given_value, after)
    elif step == "rollback":
        target = registry.target()
        if isinstance(target, Routing):
            registry.do(step, target)
        model.rollback()
    elif step == "shadow":
        registry.do(step, now)
    else:
        after = after_change(step, given_value, now)
        if after not in (None, now):
            ends = step == "advance" and after.ramp is None
            registry.do("promote" if ends else "ramp" if step == "advance" else step, after)
            model.change(after)


@given(st.lists(STEPS, max_size=25))
def test_property_26_a_rollback_goes_back_to_the_state_before_the_last_change(steps):
    registry, model = Registry(), Model()
    for step, given_value in steps:
        take(step, given_value, registry, model)
        target = model.target()
        expected = target.routing.traffic if isinstance(target, State) else target
        assert registry.now == model.state.routing
        assert registry.target() == expected


@given(st.lists(STEPS, max_size=25))
def test_property_26_a_rollback_never_gives_traffic_to_what_was_withdrawn_since(steps):
    registry, model = Registry(), Model()
    given_since: dict[int, bool] = {}
    for step, given_value in steps:
        before = registry.now.shares
        take(step, given_value, registry, model)
        gained = registry.now.shares.keys() - before.keys()
        if step == "rollback":
            assert all(given_since.get(number, True) for number in gained)
        elif "withdraw" in step:
            given_since |= dict.fromkeys(before.keys() - registry.now.shares.keys(), False)
        else:
            given_since |= dict.fromkeys(gained, True)
