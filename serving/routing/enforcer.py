"""Enforcer: takes the traffic from bad challengers, whether the registry answers or not."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from bundle.errors import NotFoundError
from bundle.uri import registered
from serving.routing.guardrail import Verdict
from serving.routing.messages import Advance, Look
from serving.settings import OFF, ROLLBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.metrics import MetricsCollector
    from serving.routing.messages import Observed
    from serving.routing.orders import Orders
    from serving.routing.sentry import Finding, Sentry
    from serving.routing.wanted import Wanted

log = logging.getLogger(__name__)


class Enforcer:
    """Acts on what the sentry finds; on a thread that never asks the registry."""

    def __init__(
        self,
        orders: Orders,
        *,
        sentry: Sentry | None,
        metrics: MetricsCollector,
        post: Callable[[Advance | Look], object],
    ) -> None:
        """Without a `sentry` no challenger is judged. `post`: tells the thread that does ask."""
        self._orders = orders
        self._sentry = sentry
        self._metrics = metrics
        self._post = post
        self._served: dict[str, Wanted] = {}

    def serves(self, wanted: Wanted) -> None:
        """What challengers do is counted from now on."""
        self._served[wanted.uri] = wanted
        if self._sentry is not None:
            self._sentry.settled(wanted)

    def observed(self, message: Observed) -> None:
        """How versions did: one that is worse than the champion loses its traffic."""
        if self._sentry is None or not self._sentry.observed(message):
            return
        for found in list(self._sentry.findings()):
            if found.version in self._orders.last(found.uri).withdrawn:
                continue
            if found.judgement.verdict is Verdict.ROLLBACK:
                self._withdraw(self._sentry, found)
            elif found.judgement.verdict is Verdict.ADVANCE:
                self._post(Advance(found.uri, found.version, found.percent, time.monotonic()))

    def judgements(self, model: str) -> dict[str, Any]:
        """What is thought of each challenger of the registered model, as JSON, and whether at all.

        Raises NotFoundError if the model is not followed.
        """
        uris = [uri for uri in self._orders.uris if _follows(uri, model)]
        if not uris:
            raise NotFoundError(
                f"this server does not follow the model {model!r}",
                field="model",
                remedy="ask the server whose traffic the challenger has",
            )
        sentry = self._sentry
        if sentry is None:
            return {"guardrail": OFF, "challengers": []}
        found = [judged.to_dict() for uri in uris for judged in sentry.judgements(uri)]
        return {"guardrail": ROLLBACK, "challengers": found}

    def _withdraw(self, sentry: Sentry, found: Finding) -> None:
        """Here first; the registry, which may be away, is told at the next look."""
        served = self._served[found.uri]
        left = self._orders.withdraw(found.uri, found.version, served=served)
        if left is None:
            return
        self._served[found.uri] = left
        sentry.forget(found.uri, found.version)
        name = "" if left.route is None else left.route.name
        self._metrics.withdrawn(name, found.version)
        fields = {"model": name, "version": found.version, "reason": found.judgement.reason}
        log.error("a challenger is rolled back", extra={"fields": fields})
        self._post(Look())


def _follows(uri: str, model: str) -> bool:
    source = registered(uri)
    return source is not None and source.name == model
