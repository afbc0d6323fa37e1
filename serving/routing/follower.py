"""Follower: what one --model means in the registry now, and which of its versions are here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bundle.command import describe
from bundle.errors import NotFoundError, RegistryError, TrainyardError
from bundle.quotation import quoted
from bundle.registry.routing import Routing
from bundle.shares import WHOLE
from bundle.uri import registered
from bundle.version_number import CHAMPION
from serving.routing.backoff import BRIEF_SECONDS, FIRST_SECONDS, Backoff
from serving.routing.split import Split
from serving.routing.wanted import CHALLENGER, Refusal, Route, Shadow, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundle.registry import Event, ModelRegistry, Standing
    from bundle.uri import Resolved
    from serving.routing.messages import Fetched


class Follower:
    """Asks when it is told to, and has fetched what it does not have.

    models:/NAME and models:/NAME@champion follow the champion and the split, any other alias only
    itself.
    """

    def __init__(
        self,
        uri: str,
        *,
        registry: ModelRegistry,
        fetch: Callable[[str, int], Resolved | None],
        known: Wanted | None = None,
    ) -> None:
        """`fetch` has the version of a model's name and a number brought here. It returns it, or
        None if `fetched` will be told; it may raise a TrainyardError. What is `known` to be wanted
        is here.
        """
        source = registered(uri)
        if source is None:
            raise AssertionError("only what the registry has is followed")
        self._uri = uri
        self._source = source
        self._registry = registry
        self._fetch = fetch
        self._backoff = Backoff()
        self._seen: tuple[object, ...] | None = None
        self._fetched = {} if known is None else _held(known)
        self._not_taken: set[int] = set()
        self._attempt = 0
        self._ramp: int | None = None

    def poll(self) -> Wanted:
        """Equal to the last one if nothing has changed. Raises RegistryError or NotFoundError;
        RecordError is of this model alone.

        A version that is on its way is not among the sources yet. One that cannot be fetched is
        among the refused, and tried again after a while, or as soon as the model's routing changes.
        """
        standing = self._registry.standing(self._source.name)
        routing = self._routing(standing)
        self._ramp = routing.ramp
        seen = (routing, tuple(sorted(standing.aliases.items())))
        if seen != self._seen:
            self._seen = seen
            self._backoff.clear()
        self._try_again()
        numbers = [number for number in routing.shares if number != routing.champion]
        if routing.champion is not None:
            numbers.insert(0, routing.champion)
        if CHALLENGER in standing.aliases and self._source.alias == CHAMPION:
            numbers.append(standing.aliases[CHALLENGER])
        shadow = routing.with_shadow(routing.shadow).shadow
        wanted = [*dict.fromkeys(numbers)]
        sources, refused = self._find(wanted if shadow is None else [*wanted, shadow.number])
        along = None
        if shadow is not None and sources and sources[-1].version == str(shadow.number):
            along = sources.pop()
        return Wanted(
            uri=self._uri,
            sources=tuple(sources),
            route=Route(
                name=self._name,
                salt=self._source.name,
                split=Split.of(routing.shares, champion=routing.champion),
                aliases=_aliases(standing, routing, {source.version for source in sources}),
                shadow=None if shadow is None else Shadow(str(shadow.number), shadow.percent),
            ),
            shadow=along,
            refused=tuple(dict.fromkeys(refused)),
            attempt=self._attempt,
        )

    def fetched(self, message: Fetched) -> None:
        """A version of this model or of another one was on its way: the next poll has it."""
        if message.name == self._source.name:
            self._keep(message.number, message.outcome)

    def withdraw(self, version: str, *, who: str, instead: int | None = None) -> None:
        """Take the traffic from the version in the registry too; if it has all of it by now, where
        `instead` is named, which is champion then. Raises RegistryError.
        """
        self._registry.withdraw(self._source.name, int(version), instead=instead, who=who)

    def advance(self, version: str, *, seen: float, who: str) -> Event | None:
        """Give it more traffic, if a ramp gives it `seen` percent now. Raises RegistryError.

        Where there was no ramp at the last poll the registry is not asked.
        """
        if self._seen is not None and self._ramp != int(version):
            return None
        return self._registry.advance(self._source.name, int(version), seen=seen, who=who)

    def refused(self, version: str, reason: str) -> None:
        """A worker did not take the version: it is tried again after a while."""
        self._backoff.failed(int(version), reason)
        self._not_taken.add(int(version))

    def _try_again(self) -> None:
        """What workers did not take and may now be given once more."""
        due = {number for number in self._not_taken if self._backoff.reason(number) is None}
        if due:
            self._not_taken -= due
            self._attempt += 1

    @property
    def _name(self) -> str:
        return self._source.given_name or self._source.name

    def _routing(self, standing: Standing) -> Routing:
        alias = self._source.alias
        if alias == CHAMPION and standing.routing.champion is not None:
            return standing.routing
        if alias not in standing.aliases:
            raise NotFoundError(
                f"model {self._source.name!r} has no alias {quoted(alias)}",
                field="model",
                remedy=f"its aliases are {', '.join(sorted(standing.aliases)) or 'none yet'}",
            )
        return Routing(champion=standing.aliases[alias])

    def _find(self, numbers: list[int]) -> tuple[list[Resolved], list[Refusal]]:
        sources, refused = [], []
        for number in numbers:
            if number not in self._fetched and self._backoff.reason(number) is None:
                self._begin(number)
            reason = self._backoff.reason(number)
            if number in self._fetched:
                sources.append(self._fetched[number])
            elif reason is not None:
                refused.append(Refusal(name=self._name, version=str(number), reason=reason))
        if len(sources) + len(refused) == len(numbers):  # before, there is a way back to the others
            self._fetched = {n: source for n, source in self._fetched.items() if n in numbers}
        return sources, refused

    def _begin(self, number: int) -> None:
        try:
            source = self._fetch(self._source.name, number)
        except TrainyardError as error:
            self._keep(number, error)
        else:
            if source is not None:
                self._keep(number, source)

    def _keep(self, number: int, outcome: Resolved | TrainyardError) -> None:
        if isinstance(outcome, TrainyardError):
            away = isinstance(outcome, RegistryError)
            first = BRIEF_SECONDS if away else FIRST_SECONDS
            self._backoff.failed(number, describe(outcome), first=first)
        else:
            self._fetched[number] = replace(outcome, name=self._name)


def _held(wanted: Wanted) -> dict[int, Resolved]:
    sources = [*wanted.sources, *(() if wanted.shadow is None else (wanted.shadow,))]
    return {int(source.version): source for source in sources}


def _aliases(
    standing: Standing, routing: Routing, versions: set[str]
) -> tuple[tuple[str, str], ...]:
    """Of the versions that are held; the other side of a split in two is the challenger."""
    aliases = {alias: str(number) for alias, number in standing.aliases.items()}
    others = [number for number in routing.shares if number != routing.champion]
    if len(others) == 1 and routing.shares[others[0]] < WHOLE:
        aliases.setdefault(CHALLENGER, str(others[0]))
    return tuple(sorted((a, version) for a, version in aliases.items() if version in versions))
