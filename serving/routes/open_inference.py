"""The Open Inference Protocol about the server: what it is, how it is, which models it has."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from serving.application import Endpoint
from serving.codec.request import shown
from serving.errors import BadRequestError, NotSupportedError
from serving.guard import ADMIN, PREDICT
from serving.routes.probes import bare
from serving.routes.small_body import SmallBodies

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from serving.arrivals import Arrivals
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
UNSUPPORTED_PATHS = (
    ("/v2/systemsharedmemory/{rest:path}", "shared memory"),
    ("/v2/cudasharedmemory/{rest:path}", "shared memory"),
    ("/v2/models/{model}/trace/setting", "tracing by request"),
    ("/v2/trace/setting", "tracing by request"),
    ("/v2/logging", "changing the logging"),
)
INDEX = "/v2/repository/index"
LOADING = ("/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload")


def open_inference_endpoints(
    lifecycle: Lifecycle, catalog: Catalog, table: RoutingTable, arrivals: Arrivals
) -> list[Endpoint]:
    """Everything below /v2 that is not about one model."""
    bodies = SmallBodies(arrivals)

    async def server(_: Request, exchange: Exchange) -> Response:
        document = {"name": "trainyard", "version": server_version(), "extensions": EXTENSIONS}
        return exchange.answer(document)

    async def live(_: Request, exchange: Exchange) -> Response:
        return bare(exchange, well=True)

    async def ready(_: Request, exchange: Exchange) -> Response:
        return bare(exchange, well=lifecycle.ready)

    async def index(request: Request, exchange: Exchange) -> Response:
        ready = (await bodies.read_fields(request, ("ready",))).get("ready", False)
        if not isinstance(ready, bool):
            raise BadRequestError.of_field(
                "ready",
                f"must be true or false, not {shown(ready)}",
                remedy='send {"ready": true} for the versions that answer, or no body for all',
            )
        models = [
            {"name": info.name, "version": info.version, "state": "READY", "reason": ""}
            for info in catalog.infos()
        ]
        refused = () if ready else table.refused
        models += [
            {"name": found.name, "version": found.version, "state": "UNAVAILABLE",
             "reason": found.reason}
            for found in refused
        ]  # fmt: skip
        return exchange.answer(models)

    def refusing(what: str) -> list[Endpoint]:
        async def refuse(_: Request, __: Exchange) -> Response:
            raise NotSupportedError(f"{what} is not supported")

        return [Endpoint(path, method, refuse) for path, name in UNSUPPORTED_PATHS if name == what
                for method in ("GET", "POST")]  # fmt: skip

    async def load(_: Request, __: Exchange) -> Response:
        raise NotSupportedError("models are loaded and unloaded by the registry and --model")

    return [
        Endpoint("/v2", "GET", server),
        Endpoint("/v2/health/live", "GET", live),
        Endpoint("/v2/health/ready", "GET", ready),
        Endpoint(INDEX, "POST", index, PREDICT),
        *(Endpoint(path, "POST", load, ADMIN) for path in LOADING),
        *(endpoint for what in sorted({name for _, name in UNSUPPORTED_PATHS})
          for endpoint in refusing(what)),
    ]  # fmt: skip


def server_version() -> str:
    try:
        return version("trainyard")
    except PackageNotFoundError:  # a source tree that was not installed
        return "0"
