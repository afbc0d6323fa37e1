"""Rollback: which traffic the history leads back to.

A change is what somebody asked for: a promotion, a split, or a ramp with all of its stages and the
promotion that ends it. A withdrawal is none: it takes back a part of the last change, or all of it,
and what was withdrawn is not brought back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bundle.errors import ConflictError
from bundle.registry.event import PROMOTE, RAMP, ROLLBACK, WITHDRAW
from bundle.shares import WHOLE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bundle.registry.event import Event
    from bundle.registry.routing import Routing


@dataclass(frozen=True)
class _Change:
    before: Routing
    """Who answered until then."""
    withdrawal: Event | None = None
    """The last one since then, and before the next change."""
    closed: bool = False
    """Whether what answered until then has been withdrawn since."""


def previous_routing(
    events: Sequence[Event], current: Routing, existing: Collection[int]
) -> Routing | None:
    """The traffic before the last change that was not yet taken back, if there is one.

    `events` are in the order of time. A routing to versions that no longer exist is passed over,
    and one that was changed behind the history's back counts as a change too.
    Raises ConflictError where a withdrawal has brought that traffic back already.
    """
    now = replace(current, shadow=None)
    withdrawal: Event | None = None
    for change in reversed(_changes(events, current)):
        withdrawal = withdrawal or change.withdrawal
        if change.before == now.traffic and withdrawal is not None:
            raise _withdrawn_already(withdrawal)
        possible = not change.closed and change.before.versions <= set(existing)
        if possible and change.before.champion is not None and change.before != now:
            return change.before
    return None


def _changes(events: Sequence[Event], current: Routing) -> list[_Change]:
    """Those that were not yet taken back, oldest first."""
    changes: list[_Change] = []
    last: Event | None = None
    for event in events:
        if event.action == WITHDRAW:
            changes = _after_withdrawal(changes, event)
        elif event.action == ROLLBACK:
            unrecorded = _unrecorded(last, event.before)
            changes = _until([*changes, *unrecorded], event.after.traffic)
        elif _begins(event):
            changes.append(_Change(event.before.traffic))
        last = event
    return [*changes, *_unrecorded(last, current)]


def _begins(event: Event) -> bool:
    """Whether it is a change of its own, and no stage of a ramp that goes on or ends."""
    before, after = event.before, event.after
    if before.ramp is not None and _goes_on(event, before.ramp):
        return False
    return before.traffic != after.traffic or after.ramp is not None


def _goes_on(event: Event, ramp: int) -> bool:
    """Whether the ramp did, or came to its end; also where that was killed in the middle."""
    after = event.after
    if event.action == PROMOTE:
        return after.shares == {ramp: WHOLE}
    return after.ramp == ramp or (event.action == RAMP and after.ramp is None)


def _after_withdrawal(changes: list[_Change], event: Event) -> list[_Change]:
    """The ways back to the versions that were withdrawn are closed."""
    lost = _lost(event)
    changes = [
        replace(change, closed=change.closed or not lost.isdisjoint(change.before.shares))
        for change in changes
    ]
    return [*changes[:-1], *(replace(change, withdrawal=event) for change in changes[-1:])]


def _until(changes: list[_Change], target: Routing) -> list[_Change]:
    """Those before the last one that led away from the target."""
    for index in reversed(range(len(changes))):
        if changes[index].before == target:
            return changes[:index]
    return []


def _unrecorded(last: Event | None, found: Routing) -> list[_Change]:
    """What was done behind the history's back after its last event, if anything was."""
    if last is None or last.after.traffic == found.traffic:
        return []
    return [_Change(last.after.traffic)]


def _lost(withdrawal: Event) -> set[int]:
    return set(withdrawal.before.shares) - set(withdrawal.after.shares)


def _withdrawn_already(withdrawal: Event) -> ConflictError:
    versions = " and ".join(map(str, sorted(_lost(withdrawal))))
    return ConflictError(
        f"the guardrail already withdrew version {versions} at "
        f"{withdrawal.time:%Y-%m-%d %H:%M:%SZ}: the traffic is what it was before the last change",
        field="name",
        remedy="promote a version to go back further",
    )
