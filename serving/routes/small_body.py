"""Small bodies: of requests that say a few things, and no samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.codec.body import read_body
from serving.codec.json import parse_object
from serving.codec.request import check_known

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.arrivals import Arrivals

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0


async def read_small(request: Request, arrivals: Arrivals) -> bytes:
    """Raises TooLargeError, BodyTimeoutError or ClientDisconnect."""
    return await arrivals.read(
        read_body(request.headers, request.receive, maximum=MAX_BODY_BYTES, seconds=BODY_SECONDS)
    )


async def read_fields(
    request: Request, arrivals: Arrivals, known: tuple[str, ...]
) -> dict[str, Any]:
    """The fields of a JSON object, none but `known` ones; no body is an empty one."""
    content = await read_small(request, arrivals)
    document = {}
    if content.strip():
        document = parse_object(content, example=f'{{"{known[0]}": …}}', unique=True)
    check_known(document, known)
    return document
