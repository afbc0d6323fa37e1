"""A bare Starlette that gives back the JSON it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.servers.subject import Order

if TYPE_CHECKING:
    from starlette.requests import Request


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


def main() -> None:
    """Serve on the port that the environment says."""
    app = Starlette(routes=[Route("/predict", echo, methods=["POST"])])
    port = Order.read().port
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
