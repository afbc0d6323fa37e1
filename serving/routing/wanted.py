"""Wanted: what one --model asks for now, as the registry had it when it was last asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundle.uri import Resolved
from serving.routing.split import Split

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CHALLENGER = "challenger"


@dataclass(frozen=True)
class Shadow:
    """A version that is asked what others have answered, and never answers."""

    version: str
    percent: float
    """How many of the answered requests it is asked."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Who answers the requests for a model that name no version."""

    name: str
    """The model's name here."""
    salt: str
    """Keeps the buckets of one model apart from another's; never changes."""
    split: Split
    aliases: tuple[tuple[str, str], ...] = ()
    """Names that a request may give in place of a version's number."""
    shadow: Shadow | None = None

    def version(self, given: str) -> str:
        """The number behind an alias; what is no alias is returned as it is."""
        return dict(self.aliases).get(given, given)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A version that is not served, and why."""

    name: str
    version: str
    reason: str

    def log_fields(self) -> dict[str, str]:
        """The model is its name, as in every line of the log."""
        return {"model": self.name, "version": self.version, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Never changed: what comes later is another one."""

    uri: str
    """As --model has it; tells one from another."""
    sources: tuple[Resolved, ...]
    """Every version to be held, on this machine's disk. The first one is the default."""
    route: Route | None = None
    """None for what no registry routes."""
    shadow: Resolved | None = None
    """The route's shadow, which a process of its own holds. It is not kept for the next start."""
    refused: tuple[Refusal, ...] = ()
    """Versions that could not be fetched, or are no bundle."""
    attempt: int = 0
    """Rises where what was refused is to be tried again."""
    withdrawn: frozenset[str] = frozenset()
    """Challengers that answer nothing here, of which the registry could not be told yet."""

    @property
    def pinned(self) -> bool:
        """Whether it is the same for as long as the server runs."""
        return self.route is None

    @property
    def needed(self) -> frozenset[str]:
        """The versions without which the route cannot be taken."""
        return frozenset() if self.route is None else frozenset(self.route.split.versions)

    @property
    def awaited(self) -> frozenset[str]:
        """Of the needed versions those that are still on their way."""
        here = {source.version for source in self.sources}
        return self.needed - here - {refusal.version for refusal in self.refused}

    def to_dict(self) -> dict[str, Any]:
        """As JSON, of one that is routed and was found whole."""
        route = self.route
        if route is None:
            raise AssertionError("only what the registry routes is kept")
        return {
            "uri": self.uri,
            "name": route.name,
            "salt": route.salt,
            "split": [list(pair) for pair in route.split.ends],
            "aliases": dict(route.aliases),
            "withdrawn": sorted(self.withdrawn),
            "versions": {source.version: str(source.path) for source in self.sources},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Wanted:
        """Raises KeyError, TypeError or ValueError for what `to_dict` did not write."""
        name = str(document["name"])
        ends = tuple((str(version), int(end)) for version, end in document["split"])
        if not ends:
            raise ValueError("an empty split")
        return cls(
            uri=str(document["uri"]),
            sources=tuple(
                Resolved(name=name, version=version, path=Path(path), bare=False)
                for version, path in document["versions"].items()
            ),
            route=Route(
                name=name,
                salt=str(document["salt"]),
                split=Split(ends),
                aliases=tuple(sorted(document["aliases"].items())),
            ),
            withdrawn=frozenset(map(str, document.get("withdrawn", ()))),
        )

    def withdrawing(self, versions: Collection[str]) -> Wanted:
        """The same, but what challengers of these versions were to answer is the reference's."""
        route = self.route
        if route is None:
            return self
        withdrawn = frozenset(versions).intersection(route.split.challengers)
        if not withdrawn:
            return self
        split = reduce(Split.without, withdrawn, route.split)
        withdrawn |= self.withdrawn
        return replace(self, route=replace(route, split=split), withdrawn=withdrawn)

    def with_route(self, route: Route) -> Wanted:
        """The same versions, shared out otherwise."""
        return replace(self, route=route)
