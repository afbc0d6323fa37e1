"""GET /v2/models/…: what a model takes and gives, whether it is ready, and what it has done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundle.tensor import DYNAMIC
from serving.application import Endpoint
from serving.codec.datatype import DATATYPES, config_type
from serving.guard import METRICS, PREDICT
from serving.routes.probes import bare
from serving.statistics import model_statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from bundle.tensor import TensorSpec
    from serving.catalog import Catalog
    from serving.chooser import Chooser
    from serving.drain import Lifecycle
    from serving.exchange import Exchange
    from serving.scraper import Scraper
    from serving.served_model import ServedModel
    from serving.settings import Settings

_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}


def model_endpoints(
    settings: Settings,
    lifecycle: Lifecycle,
    catalog: Catalog,
    chooser: Chooser,
    scraper: Scraper,
) -> list[Endpoint]:
    """Each with and without a version."""

    def find(request: Request) -> ServedModel:
        return chooser.find(request.path_params["model"], request.path_params.get("version"))

    def answering(describe: Callable[[ServedModel], dict[str, Any]]) -> Any:
        async def answer(request: Request, exchange: Exchange) -> Response:
            return exchange.answer(describe(find(request)))

        return answer

    def metadata(served: ServedModel) -> dict[str, Any]:
        versions = [info.version for info in catalog.infos() if info.name == served.info.name]
        return _metadata(served, versions)

    async def ready(request: Request, exchange: Exchange) -> Response:
        find(request)
        return bare(exchange, well=lifecycle.ready)

    async def statistics(request: Request, exchange: Exchange) -> Response:
        wanted = (
            [find(request).info.key]
            if "model" in request.path_params
            else [info.key for info in catalog.infos()]
        )
        families = (await scraper.scrape()).families
        return exchange.answer({"model_stats": [model_statistics(families, k) for k in wanted]})

    endpoints = [Endpoint("/v2/models/stats", "GET", statistics, METRICS)]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        endpoints += [
            Endpoint(model, "GET", answering(metadata), PREDICT),
            Endpoint(f"{model}/ready", "GET", ready),
            Endpoint(
                f"{model}/config",
                "GET",
                answering(lambda served: _config(served, batch_size=settings.batch_size)),
                PREDICT,
            ),
            Endpoint(f"{model}/stats", "GET", statistics, METRICS),
        ]
    return endpoints


def _metadata(served: ServedModel, versions: list[str]) -> dict[str, Any]:
    def tensor(spec: TensorSpec) -> dict[str, Any]:
        return {
            "name": spec.name,
            "datatype": DATATYPES[spec.dtype],
            "shape": _shape(spec),
        }

    return {
        "name": served.info.name,
        "versions": versions,
        "platform": _PLATFORMS.get(served.info.engine, served.info.engine),
        "inputs": [tensor(spec) for spec in served.manifest.inputs],
        "outputs": [tensor(spec) for spec in served.manifest.outputs],
    }


def _shape(spec: TensorSpec) -> list[int]:
    """As Triton has it, also where nobody knows how many dimensions there are."""
    return [DYNAMIC] if spec.unranked else list(spec.shape)


def _config(served: ServedModel, *, batch_size: int) -> dict[str, Any]:
    """As Triton's model configuration, in JSON: without the batch dimension, which is implied."""
    batchable = served.info.batchable

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        dims = _shape(spec)[1:] if batchable else _shape(spec)
        entry: dict[str, Any] = {
            "name": spec.name,
            "data_type": config_type(spec.dtype),
            "dims": dims or [1],
        }
        if not dims:  # clients cannot make an input without dimensions
            entry["reshape"] = {"shape": []}
        return entry

    config: dict[str, Any] = {
        "name": served.info.name,
        "platform": _PLATFORMS.get(served.info.engine, served.info.engine),
        "backend": served.info.engine,
        "version_policy": {"specific": {"versions": [served.info.version]}},
        "max_batch_size": batch_size if batchable else 0,
        "input": [tensor(spec) for spec in served.manifest.inputs],
        "output": [tensor(spec) for spec in served.manifest.outputs],
        "instance_group": [
            {
                "name": served.info.name,
                "kind": "KIND_CPU" if served.info.provider == "cpu" else "KIND_GPU",
                "count": 1,
            }
        ],
    }
    if batchable:
        config["dynamic_batching"] = {}
    return config
