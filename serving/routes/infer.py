"""POST /v2/models/{model}[/versions/{version}]/infer: tensors in, tensors out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import Response

from serving.application import Endpoint
from serving.codec.compression import answer_encoding, deflate
from serving.codec.infer_request import HEADER_LENGTH, parse_infer_request
from serving.codec.infer_response import choose_outputs, write_infer_response
from serving.codec.infer_tensors import read_tensors
from serving.codec.json import JSON
from serving.errors import RefusedSampleError
from serving.guard import PREDICT
from serving.intake import SMALL_BYTES
from serving.routes.small_answer import are_small
from serving.stage import others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from bundle.tensor import TensorSpec
    from serving.awaited import Answer
    from serving.chooser import Chooser
    from serving.codec.infer_request import InferRequest
    from serving.exchange import Exchange
    from serving.intake import Intake
    from serving.routing.shadow import Shadows
    from serving.served_model import Part, ServedModel
    from serving.settings import Settings
    from serving.wire import Tensors


SMALL_RAW_BYTES = 1024 * 1024
"""Bodies up to this are parsed on the event loop where all but a small head are raw numbers."""


class InferRoutes:
    """The Open Inference Protocol's way to the workers."""

    def __init__(
        self, settings: Settings, *, chooser: Chooser, intake: Intake, shadows: Shadows
    ) -> None:
        self._shadows = shadows
        self._settings = settings
        self._chooser = chooser
        self._intake = intake

    def endpoints(self) -> list[Endpoint]:
        """With and without a version."""
        return [
            Endpoint("/v2/models/{model}/infer", "POST", self._infer, PREDICT),
            Endpoint("/v2/models/{model}/versions/{version}/infer", "POST", self._infer, PREDICT),
        ]

    async def _infer(self, request: Request, exchange: Exchange) -> Response:
        path = request.path_params
        with self._intake.admit(exchange):
            version = exchange.named_version(path.get("version"))
            with self._chooser.chosen(path["model"], version, key=exchange.routing_key()) as served:
                exchange.choose(served.info, routed=version is None)
                return await self._ask(request, exchange, served)

    async def _ask(self, request: Request, exchange: Exchange, served: ServedModel) -> Response:
        intake = self._intake
        body = await intake.body(request, exchange)
        header_length = exchange.given.get(HEADER_LENGTH.lower())
        read = partial(self._read, served, body, header_length)
        small = is_read_at_once(body, header_length, strings=served.has_strings)
        wanted, parts, chosen = read() if small else await intake.parsed(read, exchange)
        await others()
        timeout_ms, priority = wanted.timeout_ms, wanted.priority
        exchange.record.samples = count = sum(len(part.indices) for part in parts)
        intake.check(exchange, served, samples=count, timeout_ms=timeout_ms, priority=priority)
        try:
            answers = await intake.infer(
                exchange, served, parts, timeout_ms=timeout_ms, priority=priority
            )
        except RefusedSampleError as error:
            if error.index is None or count == 1:
                raise
            raise error.located(f"row {error.index}", field=error.field) from error
        received = time.monotonic()
        encoding = answer_encoding(exchange.given)
        write = partial(_write, exchange, served, wanted, answers, chosen, encoding=encoding)
        small = are_small(answers, most=SMALL_BYTES)
        content, length = (
            write() if small else await intake.beside(write, exchange, timeout_ms=timeout_ms)
        )
        headers = exchange.headers()
        headers["Content-Type"] = JSON if length is None else "application/octet-stream"
        if length is not None:
            headers[HEADER_LENGTH] = str(length)
        if encoding:
            headers["Content-Encoding"] = encoding
        exchange.phase("encode", received)
        self._shadows.mirror(served, parts, answers, partial(self._split, wanted))
        return Response(content, 200, headers)

    def _read(
        self, served: ServedModel, body: bytes, header_length: str | None
    ) -> tuple[InferRequest, list[Part], list[tuple[TensorSpec, bool]]]:
        wanted = parse_infer_request(body, header_length)
        chosen = choose_outputs(wanted, served.manifest.outputs)
        return wanted, self._split(wanted, served), chosen

    def _split(self, wanted: InferRequest, served: ServedModel) -> list[Part]:
        return served.from_tensors(
            read_tensors(wanted, served.manifest.inputs),
            batch_size=self._settings.batch_size,
            batch_tokens=self._settings.batch_tokens or None,
            most_samples=self._settings.max_batch_instances,
        )


def is_read_at_once(body: bytes, header_length: str | None, *, strings: bool) -> bool:
    """Whether the body is read on the event loop. Of raw numbers nothing is done for each; of
    `strings` there is.
    """
    if len(body) <= SMALL_BYTES:
        return True
    if strings or len(body) > SMALL_RAW_BYTES or header_length is None:
        return False
    if not header_length.isdecimal() or len(header_length) > len(str(SMALL_BYTES)):
        return False
    return int(header_length) <= SMALL_BYTES


def _write(
    exchange: Exchange,
    served: ServedModel,
    wanted: InferRequest,
    answers: Sequence[Answer],
    chosen: Sequence[tuple[TensorSpec, bool]],
    *,
    encoding: str,
) -> tuple[bytes, int | None]:
    head: dict[str, Any] = {
        "id": wanted.id or str(exchange.id),
        "model_name": served.info.name,
        "model_version": served.info.version,
    }
    outputs = _join([answer.outputs for answer in answers], batchable=served.info.batchable)
    content, length = write_infer_response(head, outputs, chosen)
    return (deflate(content, encoding) if encoding else content), length


def _join(pieces: Sequence[Tensors], *, batchable: bool) -> Tensors:
    """The outputs of all parts, as the model's signature has them."""
    if not batchable:
        return {name: array[0, ...] for name, array in pieces[0].items()}
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
