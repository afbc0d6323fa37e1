"""RoutingTable: who answers what, as an API process does it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from serving.routing.messages import Routes
    from serving.routing.wanted import Refusal, Route


class RoutingTable:
    """Takes a new route when it knows all of its versions; the old one holds until then."""

    def __init__(self) -> None:
        self._wanted: dict[str, Route] = {}
        self._taken: dict[str, Route] = {}
        self.refused: tuple[Refusal, ...] = ()

    def update(self, routes: Routes, held: Collection[tuple[str, str]]) -> None:
        """The supervisor has changed its mind; `held` are the models' names and versions."""
        self._wanted = {route.name: route for route in routes.routes}
        self.refused = routes.refused
        self.settle(held)

    def settle(self, held: Collection[tuple[str, str]]) -> None:
        """There may be other versions than before."""
        self._taken = {
            name: route
            for name, wanted in self._wanted.items()
            if (route := self._choose(wanted, held)) is not None
        }

    def route(self, name: str) -> Route | None:
        """None for a model that no registry routes."""
        return self._taken.get(name)

    def is_split(self, name: str) -> bool:
        """Whether several versions share the model's requests."""
        route = self._taken.get(name)
        return route is not None and len(route.split.ends) > 1

    def shares(self, name: str) -> dict[str, float]:
        """Percent by version; empty for a model that no registry routes."""
        route = self._taken.get(name)
        return {} if route is None else route.split.shares

    def _choose(self, wanted: Route, held: Collection[tuple[str, str]]) -> Route | None:
        before = self._taken.get(wanted.name)
        needed = {(wanted.name, version) for version in wanted.split.versions}
        return wanted if before is None or needed <= set(held) else before
