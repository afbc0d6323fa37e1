"""The Open Inference Protocol about the server: what it is, how it is, which models it has."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.codec.json import dump
from serving.errors import NotSupportedError
from serving.guard import ADMIN, PREDICT

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.catalog import Catalog
    from serving.drain import Lifecycle
    from serving.exchange import Exchange
    from serving.routing.table import RoutingTable

EXTENSIONS = (
    "binary_tensor_data",
    "statistics",
    "model_configuration",
    "model_repository",
    "parameters",
)
UNSUPPORTED = (
    ("/v2/systemsharedmemory/{rest:path}", "shared memory"),
    ("/v2/cudasharedmemory/{rest:path}", "shared memory"),
    ("/v2/models/{model}/trace/setting", "tracing by request"),
    ("/v2/trace/setting", "tracing by request"),
    ("/v2/logging", "changing the logging"),
)
LOADING = ("/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload")


def open_inference_endpoints(
    lifecycle: Lifecycle, catalog: Catalog, table: RoutingTable
) -> list[Endpoint]:
    """Everything below /v2 that is not about one model."""

    async def server(_: Request, exchange: Exchange) -> Response:
        document = {"name": "trainyard", "version": server_version(), "extensions": EXTENSIONS}
        return Response(dump(document), 200, exchange.headers(), "application/json")

    async def live(_: Request, exchange: Exchange) -> Response:
        return Response(b"", 200, exchange.headers())

    async def ready(_: Request, exchange: Exchange) -> Response:
        return Response(b"", 200 if lifecycle.ready else 503, exchange.headers())

    async def index(_: Request, exchange: Exchange) -> Response:
        models = [
            {"name": info.name, "version": info.version, "state": "READY", "reason": ""}
            for info in catalog.infos()
        ]
        models += [
            {"name": found.name, "version": found.version, "state": "UNAVAILABLE",
             "reason": found.reason}
            for found in table.refused
        ]  # fmt: skip
        return Response(dump(models), 200, exchange.headers(), "application/json")

    def refusing(what: str) -> list[Endpoint]:
        async def refuse(_: Request, __: Exchange) -> Response:
            raise NotSupportedError(f"{what} is not supported")

        return [Endpoint(path, method, refuse) for path, name in UNSUPPORTED if name == what
                for method in ("GET", "POST")]  # fmt: skip

    async def load(_: Request, __: Exchange) -> Response:
        raise NotSupportedError("models are loaded and unloaded by the registry and --model")

    return [
        Endpoint("/v2", "GET", server),
        Endpoint("/v2/health/live", "GET", live),
        Endpoint("/v2/health/ready", "GET", ready),
        Endpoint("/v2/repository/index", "POST", index, PREDICT),
        *(Endpoint(path, "POST", load, ADMIN) for path in LOADING),
        *(endpoint for what in sorted({name for _, name in UNSUPPORTED})
          for endpoint in refusing(what)),
    ]  # fmt: skip


def server_version() -> str:
    try:
        return version("trainyard")
    except PackageNotFoundError:  # a source tree that was not installed
        return "0"
