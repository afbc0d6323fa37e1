"""Fleet: from what is wanted and what workers hold to what is to be held, and who answers.

Pure: the supervisor tells it what happens, and asks it what follows. A model's route is taken when
every worker that runs holds all versions of it. Until then, and where one of them is refused, the
route before stays. Of the routes before one version of each model stays held, so that the way back
takes no loading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from bundle.errors import RequestError
from serving.routing.budget import Budget
from serving.routing.wanted import Refusal, Route, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bundle.uri import Resolved


@dataclass(frozen=True)
class Start:
    """One --model when the server starts."""

    wanted: Wanted
    known: Wanted | None = None
    """What was served last; None if that is not known, or no longer whole."""
    polled_at: float = 0.0
    """When the registry last said what is wanted, in seconds since the epoch; 0 for never."""
    warning: str = ""
    """What the operator should know of it."""


Refused = tuple[Wanted, "Resolved", str]
"""A version, what wanted it, and why it is not served."""


@dataclass
class _Entry:
    wanted: Wanted
    settled: Wanted | None
    previous: Resolved | None = None
    """One version that the route before had and this one has not."""
    refused: dict[Resolved, str] = field(default_factory=dict)

    def sources(self) -> Iterator[Resolved]:
        """All that is to be held for it."""
        settled = () if self.settled is None else self.settled.sources
        previous = () if self.previous is None else (self.previous,)
        kept = self.kept()
        for source in (*self.wanted.sources, *settled, *previous):
            if source in kept or source not in self.refused:
                yield source

    def is_first(self, source: Resolved) -> bool:
        """Whether it is to answer where nothing has before: others must not in its place."""
        return self.settled is None and source.version in self.wanted.needed

    def kept(self) -> set[Resolved]:
        """What answers now."""
        settled = self.settled
        if settled is None:
            return set()
        return {source for source in settled.sources if source.version in settled.needed}


class Fleet:
    """Every --model in its order, and every worker by its index."""

    def __init__(self, starts: Iterable[Start], budget: Budget | None = None) -> None:
        """Raises RequestError if what is asked for exceeds the budget."""
        self._entries = {s.wanted.uri: _Entry(s.wanted, s.known) for s in starts}
        self._budget = budget or Budget()
        self._workers: dict[int, frozenset[Resolved]] = {}
        self._loading: dict[int, Resolved | None] = {}
        self._used: dict[Resolved, float] = {}
        exceeded = self._budget.exceeded(self._needed())
        if exceeded:
            raise RequestError(exceeded, field="model", remedy="raise it, or serve fewer models")

    def want(self, wanted: Wanted) -> list[Refused]:
        """The registry has changed. What was refused may be tried again.

        Returns what is refused because there is no room for it beside what answers.
        """
        entry = self._entries[wanted.uri]
        entry.wanted = wanted
        entry.refused.clear()
        exceeded = self._budget.exceeded(self._needed())
        new = [s for s in wanted.sources if s not in entry.kept()] if exceeded else []
        entry.refused = dict.fromkeys(new, exceeded)
        self._settle()
        return [(wanted, source, exceeded) for source in new]

    def report(
        self,
        worker: int,
        holding: Iterable[Resolved],
        *,
        refused: Iterable[tuple[Resolved, str]] = (),
        loading: Resolved | None = None,
        used: Mapping[Resolved, float] | None = None,
    ) -> list[Refused]:
        """What a worker holds, and when each was last used. Returns what is refused from now on."""
        self._workers[worker] = frozenset(holding)
        self._loading[worker] = loading
        for source, moment in (used or {}).items():
            self._used[source] = max(moment, self._used.get(source, 0.0))
        found = [refusal for source, reason in refused for refusal in self._refuse(source, reason)]
        self._settle()
        return found

    def lost(self, worker: int) -> list[Refused]:
        """The worker is dead. Returns what is refused from now on because it died of it."""
        self._workers.pop(worker, None)
        loading = self._loading.pop(worker, None)
        if loading is None:
            return []
        return self._refuse(loading, "the worker died while it loaded this version")

    @property
    def sources(self) -> tuple[Resolved, ...]:
        """All that is to be held, in the order of the models; the routed of each come first."""
        every = list(dict.fromkeys(s for entry in self._entries.values() for s in entry.sources()))
        by_use = sorted(every, key=lambda source: -self._used.get(source, 0.0))
        held = set(self._budget.fill(self._needed(), by_use))
        return tuple(source for source in every if source in held)

    @property
    def shadows(self) -> tuple[Resolved, ...]:
        """What the process for shadows is to hold."""
        shadows = ((entry.wanted.shadow, entry.refused) for entry in self._entries.values())
        return tuple(
            dict.fromkeys(s for s, refused in shadows if s is not None and s not in refused)
        )

    def refuse_shadow(self, source: Resolved, reason: str) -> list[Refused]:
        """The version cannot be loaded as a shadow. Returns what is refused from now on.

        Where it answers as well, it goes on answering.
        """
        found = []
        for entry in self._entries.values():
            if source == entry.wanted.shadow and source not in entry.refused:
                entry.refused[source] = reason
                found.append((entry.wanted, source, reason))
        return found

    @property
    def pinned(self) -> frozenset[Resolved]:
        """Without which a worker has no business."""
        return frozenset(
            source
            for entry in self._entries.values()
            for source in entry.wanted.sources
            if entry.wanted.pinned or entry.is_first(source)
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """Who answers what; of two routes for one name the first counts."""
        routes: dict[str, Route] = {}
        for entry in self._entries.values():
            route = (entry.settled or entry.wanted).route
            if route is not None:
                routes.setdefault(route.name, route)
        return tuple(routes.values())

    @property
    def settled(self) -> tuple[Wanted, ...]:
        """What is served, of the models that the registry routes."""
        return tuple(e.settled for e in self._entries.values() if e.settled is not None)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What is asked for, of the models that the registry routes."""
        return tuple(wanted for wanted in self._all() if not wanted.pinned)

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What is wanted and not served, and why."""
        found: list[Refusal] = []
        for entry in self._entries.values():
            found += entry.wanted.refused
            found += [
                Refusal(name=name_of(source), version=source.version, reason=reason)
                for source, reason in entry.refused.items()
            ]
        return tuple(found)

    def _needed(self) -> list[Resolved]:
        """Without which something cannot be answered as it is, or is wanted to be."""
        needed: list[Resolved] = []
        for entry in self._entries.values():
            wanted = entry.wanted
            needed += entry.kept()
            for source in wanted.sources:
                must = wanted.pinned or source.version in wanted.needed
                if must and source not in entry.refused:
                    needed.append(source)
        return list(dict.fromkeys(needed))

    def _all(self) -> list[Wanted]:
        return [entry.wanted for entry in self._entries.values()]

    def _refuse(self, source: Resolved, reason: str) -> list[Refused]:
        """Nothing is refused that answers: there it is the worker that is at fault."""
        found = []
        for entry in self._entries.values():
            if source == entry.previous:
                entry.previous = None
            if (
                not entry.wanted.pinned
                and source in entry.wanted.sources
                and source not in entry.kept()
                and source not in entry.refused
                and not entry.is_first(source)
                and set(entry.sources()) != {source}
            ):
                entry.refused[source] = reason
                found.append((entry.wanted, source, reason))
        return found

    def _settle(self) -> None:
        for entry in self._entries.values():
            wanted = entry.wanted
            if not wanted.pinned and wanted != entry.settled and self._can_take(entry):
                _take(entry, wanted)

    def _can_take(self, entry: _Entry) -> bool:
        needed = {s for s in entry.wanted.sources if s.version in entry.wanted.needed}
        if len(needed) < len(entry.wanted.needed) or not self._workers:
            return False
        return all(needed <= holding for holding in self._workers.values())


def _take(entry: _Entry, wanted: Wanted) -> None:
    """From now on this is the route. The version that answered most before is kept."""
    before, entry.settled = entry.settled, wanted
    kept = set(wanted.sources)
    if entry.previous in kept:
        entry.previous = None
    if before is None or before.route is None:
        return
    shares = before.route.split.shares
    gone = [s for s in before.sources if s not in kept and s.version in shares]
    if gone:
        entry.previous = max(gone, key=lambda source: shares[source.version])


def name_of(source: Resolved) -> str:
    """What the version's model is called, as far as that is known without opening it."""
    return source.name or PurePath(source.path).stem
