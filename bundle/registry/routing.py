"""Routing: which versions of a model are asked, and its history, which rollback walks back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError, RequestError
from bundle.fields import Fields, parse_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ACTIONS = ("register", "promote", "split", "rollback", "ramp", "shadow")
WHOLE = 100.0
LEAST = 0.01
"""The smallest share: servers hash keys into 10,000 buckets."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A version, and the percent of the requests that concern it."""

    number: int
    percent: float

    def to_dict(self) -> dict[str, Any]:
        return {"version": self.number, "percent": self.percent}

    @classmethod
    def from_fields(cls, fields: Fields) -> Share:
        share = cls(number=fields.integer("version"), percent=fields.number("percent"))
        fields.done()
        return share


@dataclass(frozen=True, kw_only=True)
class Routing:
    """The champion and the shares of traffic; without shares the champion has all of it."""

    champion: int | None = None
    split: Mapping[int, float] = field(default_factory=dict)
    """Percent by version number; empty, or summing to 100."""
    ramp: int | None = None
    """The version whose share grows stage by stage, as long as it is no worse."""
    shadow: Share | None = None
    """A version that is asked what others have answered, and never answers."""

    @property
    def traffic(self) -> Routing:
        """Who answers, and nothing else: what a rollback brings back."""
        return Routing(champion=self.champion, split=self.split)

    def with_shadow(self, shadow: Share | None) -> Routing:
        """The same traffic; a version that answers is no shadow any more."""
        answers = shadow is not None and shadow.number in self.shares
        return replace(self, shadow=None if answers else shadow)

    @property
    def shares(self) -> dict[int, float]:
        """Percent by version number, of everything that answers now."""
        if self.split:
            return dict(self.split)
        return {} if self.champion is None else {self.champion: WHOLE}

    @property
    def versions(self) -> frozenset[int]:
        champion = frozenset() if self.champion is None else frozenset((self.champion,))
        return champion | frozenset(self.split)

    def to_dict(self) -> dict[str, Any]:
        split = {str(number): share for number, share in sorted(self.split.items())}
        document: dict[str, Any] = {"champion": self.champion, "split": split or None}
        if self.ramp is not None:
            document["ramp"] = self.ramp
        if self.shadow is not None:
            document["shadow"] = self.shadow.to_dict()
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> Routing:
        routing = cls(
            champion=fields.optional("champion", fields.integer),
            split=fields.optional("split", lambda key: read_split(fields.nested(key))) or {},
            ramp=fields.integer("ramp") if "ramp" in fields else None,
            shadow=Share.from_fields(fields.nested("shadow")) if "shadow" in fields else None,
        )
        fields.done()
        return routing


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of a model's routing."""

    time: datetime
    who: str
    action: str
    before: Routing
    after: Routing

    def to_dict(self) -> dict[str, Any]:
        return {
            "time": self.time.isoformat(timespec="microseconds"),
            "who": self.who,
            "action": self.action,
            "from": self.before.to_dict(),
            "to": self.after.to_dict(),
        }

    @classmethod
    def from_json(cls, text: str) -> Event:
        """The event of `to_dict`'s JSON. Raises ManifestError."""
        fields = Fields(parse_json(text, name="a registry event"))
        try:
            time = datetime.fromisoformat(fields.text("time"))
        except ValueError as error:
            raise fields.error("time", str(error)) from error
        event = cls(
            time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
            who=fields.text("who"),
            action=fields.choice("action", ACTIONS),
            before=Routing.from_fields(fields.nested("from")),
            after=Routing.from_fields(fields.nested("to")),
        )
        fields.done()
        return event


def read_split(fields: Fields) -> dict[int, float]:
    """Shares as JSON keeps them, by number as a string. Raises ManifestError."""
    split = {}
    for key in fields:
        if not key.isdecimal():
            raise fields.error(key, "is not a version number")
        split[int(key)] = fields.number(key)
    return split


def check_shares(shares: Mapping[int, float]) -> dict[int, float]:
    """The shares, without those of nothing. Raises RequestError unless they sum to 100."""
    for number, share in shares.items():
        if not math.isfinite(share) or not 0 <= share <= WHOLE:
            raise RequestError(
                f"version {number} has a share of {share:g} percent; it must be from 0 to 100",
                field=str(number),
            )
        if 0 < share < LEAST:
            raise RequestError(
                f"version {number} has a share of {share:g} percent, which is nobody",
                field=str(number),
                remedy=f"give at least {LEAST:g} percent, or 0",
            )
    total = math.fsum(shares.values())
    if abs(total - WHOLE) > 1e-9:
        raise RequestError(
            f"the shares sum to {total:g} percent",
            field="shares",
            remedy="give shares that sum to 100",
        )
    return {number: float(share) for number, share in sorted(shares.items()) if share > 0}


def check_shadow(shadow: Share, routing: Routing) -> None:
    """Raise RequestError for a share that is none, or a version that answers already."""
    if not math.isfinite(shadow.percent) or not 0 < shadow.percent <= WHOLE:
        raise RequestError(
            f"a shadow of {shadow.percent:g} percent is none; it must be above 0, at most 100",
            field="percent",
        )
    if shadow.number in routing.shares:
        raise RequestError(
            f"version {shadow.number} answers already, so it cannot be a shadow",
            field="version",
            remedy="choose a version without a share of the traffic",
        )


def previous_routing(
    events: Sequence[Event], current: Routing, existing: Collection[int]
) -> Routing | None:
    """The traffic before the last change that was not yet rolled back, if there is one.

    `events` are in the order of time. A routing to versions that no longer exist is passed over,
    and one that was changed behind the history's back counts as a change too.
    """
    past: list[Routing] = []
    for event in events:
        if event.action == "rollback":
            while past and past.pop() != event.after.traffic:
                pass
        elif event.before.traffic != event.after.traffic:
            past.append(event.before.traffic)
    if events and events[-1].after.traffic != current.traffic:
        past.append(events[-1].after.traffic)
    for routing in reversed(past):
        if (
            routing.champion is not None
            and routing != current.traffic
            and routing.versions <= set(existing)
        ):
            return routing
    return None


def read_events(texts: Sequence[str]) -> list[Event]:
    """The events, oldest first; what cannot be read is left out."""
    events = []
    for text in texts:
        try:
            events.append(Event.from_json(text))
        except ManifestError:
            continue
    return sorted(events, key=lambda event: event.time)
