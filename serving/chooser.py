"""Chooser: which version of which model answers a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.routing.split import bucket

if TYPE_CHECKING:
    from serving.catalog import Catalog, Use
    from serving.routing.table import RoutingTable
    from serving.routing.wanted import Route
    from serving.served_model import ServedModel


class Chooser:
    """By the version that the request names, else by its key and the model's route."""

    def __init__(self, catalog: Catalog, table: RoutingTable) -> None:
        self._catalog = catalog
        self._table = table

    def chosen(self, name: str | None, version: str | None, *, key: str) -> Use:
        """A context with the model, held by the workers for as long. Raises UnknownTargetError."""
        return self._catalog.using(self.find(name, version, key=key))

    def find(self, name: str | None, version: str | None, *, key: str | None = None) -> ServedModel:
        """Without a key the version that answers most. `version` is a number or an alias.

        Raises UnknownTargetError.
        """
        name = self._catalog.name(name)
        route = self._table.route(name)
        if route is None:
            return self._catalog.find(name, version)
        if version is None:
            return self._routed(route, key)
        if self._catalog.get((name, version)) is None:
            version = route.version(version)
        return self._catalog.find(name, version)

    def _routed(self, route: Route, key: str | None) -> ServedModel:
        """Another version of the route where a worker has lost the right one; else any."""
        if key is not None:
            version = route.split.pick(bucket(route.salt, key))
            served = self._catalog.get((route.name, version))
            if served is not None:
                return served
        shares = route.split.shares
        for version in sorted(shares, key=lambda version: -shares[version]):
            served = self._catalog.get((route.name, version))
            if served is not None:
                return served
        return self._catalog.find(route.name, None)
