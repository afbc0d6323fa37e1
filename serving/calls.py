"""Calls: what API processes ask of the registry, by way of the process that watches it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from typing import TYPE_CHECKING, Any

from serving.errors import (
    BadRequestError,
    OvertakenError,
    ServingError,
    UnavailableError,
    UnknownTargetError,
)
from serving.routing.administration import CHANGES
from serving.routing.messages import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.exchange import Exchange
    from serving.routing.messages import Result


ANSWER_SECONDS = 30.0
"""Longest that a call waits: longer than a registry over HTTP is waited for, twice 10 seconds."""


class Calls:
    """Those of one API process; all of it runs on its event loop."""

    def __init__(self, send: Callable[[Call], None], *, seconds: float = ANSWER_SECONDS) -> None:
        """`seconds`: how long an answer may take."""
        self._send = send
        self._seconds = seconds
        # A result may come that was meant for the process that died in this one's place.
        self._ids = itertools.count(secrets.randbits(48))
        self._waiting: dict[int, asyncio.Future[Result]] = {}

    async def ask(
        self, exchange: Exchange, action: str, *, model: str = "", **arguments: Any
    ) -> Any:
        """What the action returns. Raises a ServingError."""
        call = Call(
            id=next(self._ids),
            action=action,
            principal=exchange.principal,
            request_id=exchange.request_id,
            model=model,
            arguments=arguments,
            expires=time.monotonic() + self._seconds,
        )
        future = self._waiting[call.id] = asyncio.get_running_loop().create_future()
        try:
            self._send(call)
            async with asyncio.timeout(self._seconds):
                result = await future
        except TimeoutError:
            raise UnavailableError(
                f"the registry has not answered within {self._seconds:g} s",
                code="registry_away",
                remedy=_remedy(call),
            ) from None
        finally:
            del self._waiting[call.id]
        if result.status != 200:
            raise _error(result)
        return result.document

    def fail_all(self, reason: Callable[[], ServingError]) -> None:
        """Answer everything that waits with an error."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(reason())

    def answered(self, result: Result) -> None:
        """The answer to one of them; nobody waits for it any more if it comes too late."""
        future = self._waiting.get(result.id)
        if future is not None and not future.done():
            future.set_result(result)


def _remedy(call: Call) -> str | None:
    """A change that was asked for may have been made, and made twice it may go too far."""
    if call.action not in CHANGES:
        return None
    return f"look at /admin/models/{call.model}/history whether the change was made"


def _error(result: Result) -> ServingError:
    document = result.document
    message, field, remedy = document["message"], document.get("field"), document.get("remedy")
    if result.status == 404:
        return UnknownTargetError(message, code="not_found", field=field, remedy=remedy)
    if result.status == 409:
        return OvertakenError(message, code="conflict", field=field, remedy=remedy)
    if result.status == 400:
        return BadRequestError(message, field=field, remedy=remedy)
    return UnavailableError(message, code="registry_away", remedy=remedy)
