"""Event: one line of a model's history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError
from bundle.fields import Fields, parse_json
from bundle.registry.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WITHDRAW = "withdraw"
ROLLBACK = "rollback"
PROMOTE = "promote"
RAMP = "ramp"
ACTIONS = ("register", PROMOTE, "split", RAMP, WITHDRAW, ROLLBACK, "shadow")

_GUARDRAIL = "guardrail"
"""Whose withdrawals were kept as rollbacks, before they had an action of their own."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of a model's routing."""

    time: datetime
    who: str
    action: str
    before: Routing
    after: Routing
    version: int | None = None
    """What was registered."""
    pending: bool = False
    """Whether it is yet to come about: written before the change, so that a kill loses no event."""

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "time": self.time.isoformat(timespec="microseconds"),
            "who": self.who,
            "action": self.action,
            "from": self.before.to_dict(),
            "to": self.after.to_dict(),
        }
        if self.version is not None:
            document["version"] = self.version
        return document | ({"pending": True} if self.pending else {})

    @classmethod
    def from_json(cls, text: str) -> Event:
        """The event of `to_dict`'s JSON. Raises ManifestError."""
        fields = Fields(parse_json(text, name="a registry event"))
        try:
            time = datetime.fromisoformat(fields.text("time"))
        except ValueError as error:
            raise fields.error("time", str(error)) from error
        who, action = fields.text("who"), fields.choice("action", ACTIONS)
        event = cls(
            time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
            who=who,
            action=WITHDRAW if (who, action) == (_GUARDRAIL, ROLLBACK) else action,
            before=Routing.from_fields(fields.nested("from")),
            after=Routing.from_fields(fields.nested("to")),
            version=fields.integer("version") if "version" in fields else None,
            pending="pending" in fields and fields.boolean("pending"),
        )
        fields.done()
        return event


def read_event(text: str) -> Event | None:
    """None for what cannot be read."""
    try:
        return Event.from_json(text)
    except ManifestError:
        return None


def read_events(texts: Sequence[str], *, now: Callable[[], Routing]) -> list[Event]:
    """The events, oldest first; what cannot be read is left out.

    A pending one is what has come of it by the next event, or by `now`; nothing, if that is how it
    was before.
    """
    found = filter(None, map(read_event, texts))
    events = sorted(found, key=lambda event: event.time)
    settled: list[Event] = []
    for index, event in enumerate(events):
        if not event.pending:
            settled.append(event)
            continue
        reached = events[index + 1].before if index + 1 < len(events) else now()
        if reached != event.before:
            settled.append(replace(event, after=reached, pending=False))
    return settled
