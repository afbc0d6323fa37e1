"""/admin/models…: what `models.py` does, over HTTP, for keys of scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundle.quotation import shorten
from bundle.version_number import HOW_TO_WRITE, version_number
from serving.application import Endpoint
from serving.codec.request import shown
from serving.errors import BadRequestError
from serving.guard import ADMIN
from serving.routes.small_body import SmallBodies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.arrivals import Arrivals
    from serving.calls import Calls
    from serving.exchange import Exchange


def admin_endpoints(calls: Calls, arrivals: Arrivals) -> list[Endpoint]:
    """Reading and changing which versions answer."""

    def reading(action: str) -> Any:
        async def read(request: Request, exchange: Exchange) -> Response:
            model = request.path_params.get("model", "")
            version = request.path_params.get("version")
            arguments = {} if version is None else {"version": version}
            return exchange.answer(await calls.ask(exchange, action, model=model, **arguments))

        return read

    bodies = SmallBodies(arrivals)

    async def promote(request: Request, exchange: Exchange) -> Response:
        body = await bodies.read_fields(request, ("version", "dry_run"))
        return await change(request, exchange, "promote", version=_version(body), body=body)

    async def ramp(request: Request, exchange: Exchange) -> Response:
        body = await bodies.read_fields(request, ("version", "dry_run"))
        return await change(request, exchange, "ramp", version=_version(body), body=body)

    async def shadow(request: Request, exchange: Exchange) -> Response:
        body = await bodies.read_fields(request, ("version", "percent", "dry_run"))
        given = body.get("version")
        if given is None and "percent" in body:
            raise BadRequestError.of_field(
                "percent", "is there, but no version to have it", remedy="leave it out, or name one"
            )
        share = {"percent": _percent("percent", body["percent"])} if "percent" in body else {}
        return await change(
            request,
            exchange,
            "shadow",
            version=None if given is None and "version" in body else _version(body),
            **share,
            body=body,
        )

    async def split(request: Request, exchange: Exchange) -> Response:
        body = await bodies.read_fields(request, ("shares", "dry_run"))
        return await change(request, exchange, "split", shares=_shares(body), body=body)

    async def rollback(request: Request, exchange: Exchange) -> Response:
        return await change(
            request, exchange, "rollback", body=await bodies.read_fields(request, ("dry_run",))
        )

    async def change(
        request: Request,
        exchange: Exchange,
        action: str,
        *,
        body: Mapping[str, Any],
        **arguments: Any,
    ) -> Response:
        dry_run = body.get("dry_run", False)
        if not isinstance(dry_run, bool):
            raise BadRequestError.of_field(
                "dry_run",
                f"must be true or false, not {shown(dry_run)}",
                remedy="send one of these, or leave it out",
            )
        model = request.path_params["model"]
        event = await calls.ask(exchange, action, model=model, dry_run=dry_run, **arguments)
        return exchange.answer({"name": model, "dry_run": dry_run, **event})

    model = "/admin/models/{model}"
    return [
        Endpoint("/admin/models", "GET", reading("list"), ADMIN),
        Endpoint(model, "GET", reading("versions"), ADMIN),
        Endpoint(f"{model}/history", "GET", reading("history"), ADMIN),
        Endpoint(f"{model}/challengers", "GET", reading("challengers"), ADMIN),
        Endpoint(f"{model}/versions/{{version}}", "GET", reading("show"), ADMIN),
        Endpoint(f"{model}/promote", "POST", promote, ADMIN),
        Endpoint(f"{model}/split", "POST", split, ADMIN),
        Endpoint(f"{model}/ramp", "POST", ramp, ADMIN),
        Endpoint(f"{model}/shadow", "POST", shadow, ADMIN),
        Endpoint(f"{model}/rollback", "POST", rollback, ADMIN),
    ]


def _version(body: Mapping[str, Any]) -> int:
    if "version" not in body:
        raise BadRequestError.of_field("version", "is missing", remedy='send {"version": 4}')
    return _number("version", body["version"])


def _number(name: str, value: object) -> int:
    text = str(value) if type(value) is int else value
    number = version_number(text) if isinstance(text, str) else None
    if number is None:
        raise BadRequestError.of_field(
            name, f"must be the number of a version, not {shown(value)}", remedy=HOW_TO_WRITE
        )
    return number


def _shares(body: Mapping[str, Any]) -> dict[int, float]:
    shares = body.get("shares")
    if not isinstance(shares, dict) or not shares:
        raise BadRequestError.of_field(
            "shares",
            f"must be an object of percent by version number, not {shown(shares)}"
            if "shares" in body
            else "is missing",
            remedy='send {"shares": {"3": 90, "4": 10}}',
        )
    found = {}
    for key, percent in shares.items():
        field = f"shares.{shorten(key)}"
        found[_number(field, key)] = _percent(field, percent)
    return found


def _percent(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRequestError.of_field(
            name,
            f"must be a number of percent, not {shown(value)}",
            remedy="give a number such as 10",
        )
    return float(value)
