"""GET / and the files that it is made of: a page to try the models by hand and to watch them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.errors import UnknownTargetError

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.exchange import Exchange

INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",  # blob: is the preview of the image that was chosen
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
"""Nothing from elsewhere, nothing inline, and no text becomes markup or code."""
HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for by its ETag each time
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page, as it is answered."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> PageFile:
        """The tag is that of the content: the same in every process and on every server."""
        digest = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, MEDIA_TYPES[PurePath(name).suffix], f'"{digest}"')

    def answer(self, request: Request, exchange: Exchange) -> Response:
        """The content, or 304 to whoever has it."""
        headers = {**exchange.headers(), **HEADERS, "ETag": self.etag}
        if _has(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.content, 200, {**headers, "Content-Type": self.media_type})


def page_endpoints() -> list[Endpoint]:
    """Open to all: the page asks for an API key itself, where one is needed."""
    folder = files("serving") / "page"
    pages = {
        entry.name: PageFile.of(entry.name, entry.read_bytes())
        for entry in folder.iterdir()
        if PurePath(entry.name).suffix in MEDIA_TYPES
    }

    async def index(request: Request, exchange: Exchange) -> Response:
        return pages[INDEX].answer(request, exchange)

    async def part(request: Request, exchange: Exchange) -> Response:
        found = pages.get(request.path_params["file"])
        if found is None:
            raise UnknownTargetError("the page has no such file", code="not_found")
        return found.answer(request, exchange)

    return [Endpoint("/", "GET", index), Endpoint("/page/{file}", "GET", part)]


def _has(tags: str, etag: str) -> bool:
    """Whether If-None-Match names the tag, by RFC 9110's weak comparison."""
    given = (tag.strip().removeprefix("W/") for tag in tags.split(","))
    return any(tag in (etag, "*") for tag in given)
