"""EngineLoop: takes batches off the queue and runs them; what LitServe calls a worker's loop."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from litserve.loops import LitLoop

from bundle.errors import AnswerError, EngineError, InputError
from serving.job import FAILED, GONE, OK, REFUSED, Job, answer, share
from serving.reception import Reception
from serving.vital import vital_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.batch import Item
    from serving.metrics import MetricsCollector
    from serving.models import LoadedModel
    from serving.served_model import ModelKey
    from serving.streams import Turn
    from serving.transport import Answer, Port, Replies
    from serving.wire import Array, Tensors
    from serving.work import WorkQueue

log = logging.getLogger(__name__)

_RAN = ("samples", "tokens", "share", "shared", "queue", "infer")
"""Of an answer, what says how it ran; numbers, which can always be sent."""


class ModelHolder(Protocol):
    """What the loop asks of the LitAPI that it serves."""

    @property
    def models(self) -> Mapping[ModelKey, LoadedModel]: ...

    @property
    def metrics(self) -> MetricsCollector: ...

    def catalog(self) -> dict[str, Any]: ...

    def begin(self, port: Port, queue: WorkQueue) -> None: ...


class EngineLoop(LitLoop):  # type: ignore[misc] # LitServe ships no types
    """Blocks while there is nothing to do, and ends its process when the queue is closed."""

    def run(  # noqa: PLR0917 - LitServe passes them by position
        self,
        lit_api: ModelHolder,
        device: str,  # noqa: ARG002 - LitServe passes all of these
        worker_id: int,  # noqa: ARG002
        request_queue: WorkQueue,
        transport: Port,
        workers_setup_status: dict[int, str],  # noqa: ARG002
        callback_runner: Any,  # noqa: ARG002
    ) -> NoReturn:
        """LitServe calls this for ever; it does not come back."""

        def run(turn: Turn[Job], *, dissect: bool = True) -> Replies:
            started = time.monotonic()
            replies, whole = execute(turn, lit_api.models, lit_api.metrics, dissect=dissect)
            # First, or whoever is answered would ask again and be seen to have waited.
            request_queue.done(turn, time.monotonic() - started, whole=whole)
            return replies

        def work() -> None:
            while (turn := request_queue.take()) is not None:
                transport.reply(run(turn))

        reception = Reception(request_queue, partial(run, dissect=False))
        transport.start(reception, catalog=lit_api.catalog())
        lit_api.begin(transport, request_queue)

        others = [
            vital_thread(f"stream-{number}", work) for number in range(1, request_queue.streams)
        ]
        work()
        for other in others:
            other.join()
        transport.close()
        raise SystemExit(0)


def execute(
    turn: Turn[Job],
    models: Mapping[ModelKey, LoadedModel],
    metrics: MetricsCollector,
    *,
    dissect: bool = True,
) -> tuple[Replies, bool]:
    """Run its batch, all of one model. The answers by who waits for them, and whether it ran as a
    whole.

    If the batch fails its halves run on their own, and theirs, so that only the item at fault
    fails, and nobody whose deadline passes meanwhile runs again. Together they remain one batch to
    whoever judges the version. Without `dissect` what the model raises is raised instead.
    """
    batch = turn.batch
    model = models.get(batch[0].payload.model)
    replies: Replies = {}
    if model is None:
        for item in batch:
            replies.setdefault(item.payload.link, []).append((answer(item.payload.id, GONE), {}))
        return replies, False
    part = share(batch)
    runs = _run(model, batch, metrics, models, shared=turn.shared, dissect=dissect)
    for items, answers in runs:
        run = {
            "samples": sum(item.samples for item in items),
            "tokens": max(item.length for item in items),
            "share": part,
            "shared": turn.shared,
        }
        for item, (entry, tensors) in zip(items, answers, strict=True):
            found = ({**run, **entry}, tensors)
            replies.setdefault(item.payload.link, []).append(found)
    whole = bool(runs) and len(runs[0][0]) == len(batch) and runs[0][1][0][0]["status"] == OK
    return replies, whole


def _run(
    model: LoadedModel,
    batch: list[Item[Job]],
    metrics: MetricsCollector,
    models: Mapping[ModelKey, LoadedModel],
    *,
    shared: bool,
    dissect: bool = True,
) -> list[tuple[list[Item[Job]], list[Answer]]]:
    samples = sum(item.samples for item in batch)
    started = time.monotonic()
    try:
        outputs = model.run([item.payload.tensors for item in batch], shared=shared)
    except Exception as error:
        if not dissect:
            raise
        if len(batch) == 1:
            return [(batch, [_failure(model, batch[0], error, models, shared=shared)])]
        waited_for = [item for item in batch if item.deadline > time.monotonic()]
        middle = (len(waited_for) + 1) // 2
        halves = waited_for[:middle], waited_for[middle:]
        return [
            found
            for half in halves
            if half
            for found in _run(model, half, metrics, models, shared=shared)
        ]
    seconds = time.monotonic() - started
    metrics.batch((model.name, model.version, model.variant), samples, seconds)
    return [(batch, [_success(item, tensors, started, seconds)
                     for item, tensors in zip(batch, outputs, strict=True)])]  # fmt: skip


def _success(item: Item[Job], tensors: dict[str, Array], started: float, seconds: float) -> Answer:
    waited = max(0.0, started - item.arrived)
    return answer(item.payload.id, OK, queue=waited, infer=seconds), tensors


def _failure(
    model: LoadedModel,
    item: Item[Job],
    error: Exception,
    models: Mapping[ModelKey, LoadedModel],
    *,
    shared: bool,
) -> Answer:
    """Whose fault it is: if the model still answers its probe, the input's; but not where it broke
    its word, and where any version might have been asked, not if another one answers.
    """
    message: str = str(error)
    index: int | None = 0
    if not isinstance(error, (InputError, EngineError)):
        log.error("unexpected error", exc_info=error)
        message = f"the model failed: {type(error).__name__}"
        return answer(item.payload.id, FAILED, message=message), {}
    if isinstance(error, AnswerError):
        log.error("the model fails", extra={"fields": {"model": model.name, "reason": message}})
        return answer(item.payload.id, FAILED, message=message), {}
    if item.samples > 1:
        index, message = _first_culprit(model, item.payload.tensors, message, shared=shared)
    if isinstance(error, EngineError) and not model.works(shared=shared):
        log.error("the model fails", extra={"fields": {"model": model.name, "reason": message}})
        return answer(item.payload.id, FAILED, message=message), {}
    if isinstance(error, EngineError) and item.payload.routed:
        others = [m for m in list(models.values()) if m.name == model.name and m is not model]
        for other in others:
            if _takes(other, item.payload.tensors, shared=shared):
                message = f"{message} (version {other.version} answers)"
                return answer(item.payload.id, FAILED, message=message), {}
    return answer(item.payload.id, REFUSED, message=message, field=error.field, index=index), {}


def unsendable(entry: dict[str, Any], reason: str) -> dict[str, Any]:
    """What is told of a part that ran, but whose outputs do not get to whoever waits for them."""
    ran = {name: entry[name] for name in _RAN if name in entry}
    message = f"the outputs cannot be sent: {reason}"
    return answer(entry["id"], FAILED, message=message, remedy="send less at once", **ran)


def _takes(model: LoadedModel, tensors: Tensors, *, shared: bool) -> bool:
    try:
        model.run([tensors], shared=shared)
    except Exception:  # noqa: BLE001 - whatever it is, it stops nothing but this
        return False
    return True


def _first_culprit(
    model: LoadedModel, tensors: Tensors, message: str, *, shared: bool
) -> tuple[int | None, str]:
    """The first sample that fails alone, and why; (None, message) if none does."""
    count = len(next(iter(tensors.values())))
    for index in range(count):
        try:
            sample = {name: array[index : index + 1] for name, array in tensors.items()}
            model.run([sample], shared=shared)
        except (InputError, EngineError) as error:
            return index, str(error)
        except Exception as error:  # noqa: BLE001 - one request must not stop the worker
            return index, f"the model failed: {type(error).__name__}"
    return None, message
