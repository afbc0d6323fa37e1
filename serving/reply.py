"""Reply: a JSON answer whose head is written already, but for what every answer gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.codec.json import JSON

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_LAST = b"content-length: %%d\r\ncontent-type: %b\r\n" % JSON.encode("ascii")


class Reply(Response):
    """Made without what Starlette does for any response, which every prediction would wait for."""

    def __init__(self, content: bytes, lines: bytes) -> None:
        """`lines`: headers as they are sent, each with its end; `raw_headers` are those that are
        still to come.
        """
        self.status_code = 200
        self.background = None
        self.body = content
        self.lines = lines + _LAST % len(content)
        self.raw_headers = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Where it is not written whole."""
        written = self.lines.split(b"\r\n")[:-1]
        self.raw_headers[:0] = [tuple(line.split(b": ", 1)) for line in written]  # type: ignore[misc]
        await super().__call__(scope, receive, send)
