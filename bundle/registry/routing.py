"""Routing: which versions of a model are asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bundle.errors import RequestError
from bundle.shares import WHOLE, check_shadow_percent, reference, withdrawn
from bundle.version_number import version_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.fields import Fields


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
        alone = self.split == {self.champion: WHOLE}
        return Routing(champion=self.champion, split={} if alone else self.split)

    def without(self, number: int) -> Routing | None:
        """The traffic when the version is withdrawn from it; None if there is nothing to be had."""
        heir = reference(self.shares, self.champion)
        if heir is None or number == heir or number not in self.shares:
            return None
        left = withdrawn(self.shares, number, heir=heir)
        return Routing(champion=self.champion, split=left).traffic

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


def read_split(fields: Fields) -> dict[int, float]:
    """Shares as JSON keeps them, by number as a string. Raises ManifestError."""
    split: dict[int, float] = {}
    for key in fields:
        number = version_number(key)
        if number is None:
            raise fields.error(key, "is not a version number")
        split[number] = fields.number(key)
    return split


def check_shadow(shadow: Share) -> Share:
    """The shadow. Raises RequestError for a share that is none."""
    check_shadow_percent(shadow.percent)
    return shadow


def check_unanswering(shadow: Share, routing: Routing) -> None:
    """Raise RequestError for a version that answers already."""
    if shadow.number in routing.shares:
        raise RequestError(
            f"version {shadow.number} answers already, so it cannot be a shadow",
            field="version",
            remedy="choose a version without a share of the traffic",
        )
