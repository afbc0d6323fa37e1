"""Application: the ASGI face of an API process. Every answer, right or wrong, leaves through it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from bundle.errors import InputError
from bundle.quotation import shorten
from serving.access import AccessLog
from serving.departure import ClientGoneError
from serving.errors import (
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    ModelFailedError,
    ServingError,
    UnauthorizedError,
    UnknownTargetError,
)
from serving.exchange import Exchange
from serving.guard import ADMIN
from serving.routing.administration import RefusedChanges
from serving.scope import ANSWER, REFUSED
from serving.stage import others

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from serving.guard import Guard
    from serving.metrics import MetricsCollector
    from serving.tracing import Tracer

log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""The status that is counted where nobody was left to answer."""

LONGEST_PATH = 100
"""Characters of a path from outside that are sent back or written down."""

Handler = Callable[[Request, Exchange], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """A path, its method and what answers it."""

    path: str
    method: str
    handler: Handler
    scope: str = ""
    """What an API key must allow; empty for what is open to all."""

    @property
    def changes(self) -> bool:
        """Whether it is for administrators, and changes something."""
        return self.scope == ADMIN and self.method == "POST"


class Application:
    """Routes, gives every request an identity, turns errors into answers, and measures."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        lifespan: ASGIApp,
        metrics: MetricsCollector,
        guard: Guard,
        extra_headers: Callable[[], Mapping[str, str]],
        observe: Callable[[Exchange, int], None],
        access: AccessLog | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`lifespan` is told of start and stop; `extra_headers` go out with every answer;
        `observe` is told of each with its status.
        """
        self._observe = observe
        self._routes = [
            (Route(endpoint.path, endpoint=_unused, methods=[endpoint.method]), endpoint)
            for endpoint in endpoints
        ]
        self._fixed = {
            (endpoint.path, endpoint.method): endpoint
            for _, endpoint in reversed(self._routes)
            if "{" not in endpoint.path
        }
        self._lifespan = lifespan
        self._metrics = metrics
        self._guard = guard
        self._extra_headers = extra_headers
        self._access = access or AccessLog()
        self._tracer = tracer
        self._refused_changes = RefusedChanges()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        answer = self._answer if scope["type"] == "http" else self._lifespan
        return answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(scope)
        exchange = Exchange.begin(scope, route=endpoint.path)
        await others()
        response = await self._respond(endpoint, Request(scope, receive), exchange)
        await others()
        status = CLIENT_GONE if response is None else response.status_code
        seconds = time.monotonic() - exchange.started
        self._metrics.request(exchange.record, status=status, error=exchange.error, seconds=seconds)
        self._observe(exchange, status)
        self._access.request(scope, exchange, status=status, seconds=seconds)
        if self._tracer is not None:
            self._tracer.record(scope, exchange, status=status, seconds=seconds)
        if response is not None:
            if extra := self._extra_headers():
                response.headers.update(extra)
            if exchange.record.phases:
                response.raw_headers.append((b"server-timing", exchange.timing(seconds)))
            answer = scope.get(ANSWER)
            if answer is None or not answer(response):
                await response(scope, receive, send)

    async def _respond(
        self, endpoint: Endpoint, request: Request, exchange: Exchange
    ) -> Response | None:
        """The answer, or the one to its error; None if nobody is left to be answered."""
        try:
            with self._guard.passing(exchange.given, endpoint.scope) as exchange.principal:
                return await endpoint.handler(request, exchange)
        except ServingError as error:
            if endpoint.changes and isinstance(error, (UnauthorizedError, ForbiddenError)):
                self._refused_changes.write_down(
                    principal=self._guard.name(exchange.given),
                    request_id=exchange.request_id,
                    path=shorten(request.scope["path"], LONGEST_PATH),
                    status=error.status,
                    reason=str(error),
                )
            return exchange.refuse(error)
        except InputError as error:
            return exchange.refuse(BadRequestError.from_input_error(error))
        except (ClientDisconnect, ClientGoneError):
            if REFUSED in request.scope:
                return exchange.refuse(request.scope[REFUSED])
            exchange.error = "client_gone"
            return None
        except Exception:
            log.exception("unexpected error", extra={"fields": {"id": exchange.request_id}})
            return exchange.refuse(
                ModelFailedError("the server has a fault; its log says more", code="internal_error")
            )

    def _find(self, scope: Scope) -> Endpoint:
        """What answers the path and the method, if only to say that nothing does."""
        fixed = self._fixed.get((scope["path"], scope["method"]))
        if fixed is not None:
            return fixed
        allowed: list[str] = []
        for route, endpoint in self._routes:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope)
                return endpoint
            if match is Match.PARTIAL:
                allowed += sorted(route.methods or ())
        path, method = str(scope["path"]), str(scope["method"])

        async def refuse(_: Request, __: Exchange) -> Response:
            shown = shorten(path, LONGEST_PATH)
            if allowed:
                raise MethodNotAllowedError(method, shown, allowed=", ".join(allowed))
            raise UnknownTargetError(f"there is no {shown!r} here", code="not_found")

        return Endpoint("other", method, refuse)


async def _unused(_: Request) -> Response:  # pragma: no cover - routes are only matched
    raise NotImplementedError
