"""POST /predict and POST /predict/batch."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bundle.quotation import shorten
from serving.application import Endpoint
from serving.codec.body import MediaType, decode_text
from serving.codec.json import JSON, dump, parse_object, read_batch, read_single
from serving.codec.multipart import parse_form
from serving.codec.request import (
    OPTION_FIELDS,
    PredictRequest,
    Sample,
    check_known,
    read_identity,
    read_options,
    take_sample,
)
from serving.errors import (
    BadRequestError,
    RefusedSampleError,
    UnsupportedMediaError,
)
from serving.guard import PREDICT
from serving.intake import SMALL_BYTES
from serving.routes.small_answer import are_small
from serving.stage import others

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.awaited import Answer
    from serving.cache import RowCache
    from serving.chooser import Chooser
    from serving.exchange import Exchange
    from serving.intake import Intake
    from serving.routing.shadow import Shadows
    from serving.served_model import Part, ServedModel
    from serving.settings import Settings

FORM = "multipart/form-data"
IMAGES = ("image/png", "image/jpeg")
TEXT = "text/plain"
SMALL_OUTPUT_BYTES = 4096
"""Outputs up to this become JSON on the event loop: a number of them takes a microsecond and a half
to be named and written.
"""
_ONE = '{"image": …}, {"text": …} or {"inputs": {…}}'
_MANY = '{"instances": [{"image": …}, …]}'


class Predictor:
    """From a body to an answer, by way of the workers."""

    def __init__(
        self,
        settings: Settings,
        *,
        chooser: Chooser,
        intake: Intake,
        shadows: Shadows,
        cache: RowCache | None = None,
    ) -> None:
        self._shadows = shadows
        self._settings = settings
        self._cache = cache
        self._chooser = chooser
        self._intake = intake

    def endpoints(self) -> list[Endpoint]:
        """The two paths."""
        return [
            Endpoint(
                "/predict",
                "POST",
                partial(self._answer, parse=self._parse_single, batch=False),
                PREDICT,
            ),
            Endpoint(
                "/predict/batch",
                "POST",
                partial(self._answer, parse=self._parse_batch, batch=True),
                PREDICT,
            ),
        ]

    async def _answer(
        self,
        request: Request,
        exchange: Exchange,
        *,
        parse: Callable[[Request, Exchange, bytes], PredictRequest],
        batch: bool,
    ) -> Response:
        intake = self._intake
        with intake.admit(exchange):
            body = await intake.body(request, exchange)
            small = len(body) <= SMALL_BYTES
            read = partial(parse, request, exchange, body)
            wanted = read() if small else await intake.parsed(read, exchange)
            await others()
            options = wanted.options
            version = exchange.named_version(options.version)
            with self._chooser.chosen(
                options.model, version, key=exchange.routing_key(options.key)
            ) as served:
                exchange.choose(served.info, routed=version is None)
                return await self._ask(exchange, served, wanted, small=small, batch=batch)

    async def _ask(
        self,
        exchange: Exchange,
        served: ServedModel,
        wanted: PredictRequest,
        *,
        small: bool,
        batch: bool,
    ) -> Response:
        intake = self._intake
        timeout_ms, priority = wanted.options.timeout_ms, wanted.options.priority
        exchange.record.samples = count = len(wanted.samples)
        intake.check(exchange, served, samples=count, timeout_ms=timeout_ms, priority=priority)
        split = partial(self._split, wanted.samples, served, cache=self._cache)
        parts = (
            split()
            if small and not served.heavy
            else await intake.beside(split, exchange, timeout_ms=timeout_ms)
        )
        await others()
        try:
            answers = await intake.infer(
                exchange, served, parts, timeout_ms=timeout_ms, priority=priority
            )
            received = time.monotonic()
            write = partial(_write, exchange, served, parts, answers, batch=batch)
            small = are_small(answers, most=SMALL_OUTPUT_BYTES)
            content = (
                write() if small else await intake.beside(write, exchange, timeout_ms=timeout_ms)
            )
        except RefusedSampleError as error:
            raise _locate(error, wanted.samples, batch=batch) from error
        exchange.phase("encode", received)
        self._shadows.mirror(served, parts, answers, partial(self._split, wanted.samples))
        return exchange.reply(content)

    def _split(
        self, samples: Sequence[Sample], served: ServedModel, cache: RowCache | None = None
    ) -> list[Part]:
        return served.to_parts(
            samples,
            batch_size=self._settings.batch_size,
            batch_tokens=self._settings.batch_tokens or None,
            cache=cache,
        )

    def _parse_single(self, request: Request, exchange: Exchange, body: bytes) -> PredictRequest:
        media = MediaType.parse(exchange.given.get("content-type"))
        query = _query(request)
        if media.name == JSON:
            document = _parse_json(media, body, query, example=_ONE)
            exchange.body_id = read_identity(document)
            return read_single(document, read_options(document))
        if media.name == FORM:
            _refuse_query(query)
            fields = parse_form(body, boundary=media.parameters.get("boundary"))
            exchange.body_id = read_identity(fields)
            options = read_options(fields, texts=True)
            return PredictRequest((Sample(*take_sample(fields)),), options)
        if media.name in IMAGES or media.name == TEXT:
            check_known(query, OPTION_FIELDS, path="the query")
            exchange.body_id = read_identity(query)
            options = read_options(query, texts=True)
            if media.name == TEXT:
                return PredictRequest(
                    (Sample("text", decode_text(body, media.text_encoding())),), options
                )
            return PredictRequest((Sample("image", body),), options)
        raise _unsupported(media, (JSON, FORM, *IMAGES, TEXT))

    def _parse_batch(self, request: Request, exchange: Exchange, body: bytes) -> PredictRequest:
        media = MediaType.parse(exchange.given.get("content-type"))
        if media.name != JSON:
            raise _unsupported(media, (JSON,))
        document = _parse_json(media, body, _query(request), example=_MANY)
        exchange.body_id = read_identity(document)
        return read_batch(
            document, read_options(document), maximum=self._settings.max_batch_instances
        )


def _query(request: Request) -> dict[str, str]:
    """Raises BadRequestError for a field that is given twice."""
    if not request.scope["query_string"]:
        return {}
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise BadRequestError.of_field(shorten(name), "is given twice", remedy="give it once")
        found[name] = value
    return found


def _parse_json(
    media: MediaType, body: bytes, query: Mapping[str, str], *, example: str
) -> dict[str, Any]:
    encoding = media.text_encoding() if media.parameters else "utf-8"
    if query:
        _refuse_query(query)
    if encoding not in ("utf-8", "ascii"):
        raise UnsupportedMediaError(f"JSON in {encoding} is not read", remedy="send UTF-8")
    return parse_object(body, example=example)


def _refuse_query(query: Mapping[str, str]) -> None:
    """An option in the query would be overlooked, where the body has a place for it."""
    for name in query:
        if name in OPTION_FIELDS:
            raise BadRequestError(
                f"{name} is in the query",
                field=name,
                remedy="put it into the body; the query is read for image/* and text/plain only",
            )


def _unsupported(media: MediaType, known: tuple[str, ...]) -> UnsupportedMediaError:
    got = f"the media type {media.name[:100]!r} is not read" if media.name else "no Content-Type"
    return UnsupportedMediaError(got, remedy=f"send Content-Type: {' or '.join(known)}")


def _locate(
    error: RefusedSampleError, samples: tuple[Sample, ...], *, batch: bool
) -> BadRequestError:
    """The error that a worker found, in the words of the request's body."""
    if error.index is None:
        return BadRequestError(str(error), code=error.code, field="instances" if batch else None)
    sample = samples[error.index]
    # Of a text or an image the sender does not know the tensors; nobody sends an output.
    named = sample.field == "inputs" and (error.field or "").startswith("inputs.")
    return error.located(sample.path, field=sample.located(error.field if named else None))


def _write(
    exchange: Exchange,
    served: ServedModel,
    parts: list[Part],
    answers: list[Answer],
    *,
    batch: bool,
) -> bytes:
    return dump(_document(exchange, served, _assemble(served, parts, answers), batch=batch))


def _assemble(
    served: ServedModel, parts: list[Part], answers: list[Answer]
) -> list[dict[str, Any]]:
    """The answers of all parts, in the order of the request's samples."""
    if len(parts) == 1 and len(parts[0].indices) == 1:
        return served.to_answers(answers[0].outputs, parts[0])
    ordered: dict[int, dict[str, Any]] = {}
    for part, answer in zip(parts, answers, strict=True):
        found = served.to_answers(answer.outputs, part)
        ordered.update(zip(part.indices, found, strict=True))
    return [ordered[index] for index in range(len(ordered))]


def _document(
    exchange: Exchange, served: ServedModel, answers: list[dict[str, Any]], *, batch: bool
) -> dict[str, Any]:
    """An element of "predictions" is the prediction, or {"outputs": …}; see docs/serving.md."""
    info = served.info
    document: dict[str, Any] = {"id": exchange.id, "model": info.name, "version": info.version}
    if batch:
        document["predictions"] = [answer.get("prediction", answer) for answer in answers]
    else:
        document |= answers[0]
    return document
