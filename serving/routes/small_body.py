"""SmallBodies: of requests that say a few things, and no samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.codec.body import read_body
from serving.codec.json import parse_object
from serving.codec.request import check_known
from serving.room import Room

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.arrivals import Arrivals

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0
MOST_AT_ONCE = 8
"""That one API process reads at once: some of those who send them are nobody it knows."""


class SmallBodies:
    """Those of some routes of one API process."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._room = Room(MOST_AT_ONCE)

    async def read(self, request: Request) -> bytes:
        """Raises UnavailableError, TooLargeError, BodyTimeoutError or ClientDisconnect."""
        with self._room:
            return await self._arrivals.read(
                read_body(
                    request.headers, request.receive, maximum=MAX_BODY_BYTES, seconds=BODY_SECONDS
                )
            )

    async def read_fields(self, request: Request, known: tuple[str, ...]) -> dict[str, Any]:
        """The fields of a JSON object, none but `known` ones; no body is an empty one."""
        content = await self.read(request)
        document = {}
        if content.strip():
            document = parse_object(content, example=f'{{"{known[0]}": …}}')
        check_known(document, known)
        return document
