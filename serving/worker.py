"""A worker process: loads the models, proves them, and answers batches until it is told to stop."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litserve import LitAPI
from litserve.callbacks import CallbackRunner
from litserve.loops import inference_worker

from bundle.errors import RequestError, TrainyardError
from serving.control import Failed, Ready, Stop, listen
from serving.logs import configure_logging
from serving.loop import EngineLoop
from serving.metrics import MetricsCollector
from serving.settings import NO_FALLBACK
from serving.signals import ignore_signals
from serving.transport import Port
from serving.work import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from bundle.uri import Resolved
    from serving.catalog import ModelKey
    from serving.models import LoadedModel
    from serving.settings import Settings

log = logging.getLogger(__name__)


class ModelsAPI(LitAPI):  # type: ignore[misc] # LitServe ships no types
    """All models of the server behind one LitAPI. Travels to the worker before it is set up."""

    def __init__(self, settings: Settings, sources: Sequence[Resolved]) -> None:
        super().__init__(loop=EngineLoop())
        self.settings = settings
        self.sources = tuple(sources)
        self.models: dict[ModelKey, LoadedModel] = {}
        self._local: tuple[MetricsCollector, Connection] | None = None

    def attach(self, *, metrics: MetricsCollector, control: Connection) -> None:
        """What only the worker's process has, and has before LitServe calls `setup`."""
        self._local = (metrics, control)

    @property
    def metrics(self) -> MetricsCollector:
        """The worker's metrics."""
        return self._attached()[0]

    def setup(self, device: str) -> None:
        """Called by LitServe in the worker. Leaves the process if a model cannot be loaded."""
        try:
            for source in self.sources:
                self._load(source)
        except TrainyardError as error:
            self._tell(Failed.of(error))
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            log.exception("a model cannot be loaded")
            self._tell(Failed(f"{type(error).__name__}: {error}", 1))
            raise SystemExit(1) from error
        log.info("models loaded", extra={"fields": {"device": device, "models": len(self.models)}})

    def catalog(self) -> dict[str, Any]:
        """What API processes are told of the models."""
        return {"models": [dataclasses.asdict(model.info) for model in self.models.values()]}

    def tell_ready(self) -> None:
        """Every model is loaded and proved, and the port is open."""
        self._tell(Ready())

    def _load(self, source: Resolved) -> None:
        # Imported here because it loads the runtime, which the processes that the supervisor forks
        # are better off without.
        from serving.models import load_model

        settings = self.settings
        model = load_model(
            source,
            variant=settings.variant,
            provider=settings.provider,
            fallback=settings.fallback != NO_FALLBACK,
            threads=settings.threads,
            batch_size=settings.batch_size,
        )
        if model.key in self.models:
            raise RequestError(
                f"two models are called {model.name!r} and have version {model.version!r}",
                field="model",
                remedy="give one of them another name: --model NAME=URI",
            )
        self.models[model.key] = model
        self.metrics.model(model.info)

    def _tell(self, message: object) -> None:
        self._attached()[1].send(message)

    def _attached(self) -> tuple[MetricsCollector, Connection]:
        if self._local is None:
            raise AssertionError("only a worker's process has this")
        return self._local


@dataclass(frozen=True)
class WorkerStart:
    """What a worker process is started with."""

    api: ModelsAPI
    device: str
    worker: int
    address: Path
    """Socket to listen on."""
    control: Connection


def run_worker(start: WorkerStart) -> None:
    """The process's main function."""
    ignore_signals()
    settings = start.api.settings
    configure_logging(settings.log_level)
    metrics = MetricsCollector()
    start.api.attach(metrics=metrics, control=start.control)
    queue = WorkQueue(
        batch_size=settings.batch_size,
        delay=settings.batch_delay_ms / 1000,
        capacity=settings.queue_size,
        metrics=metrics,
        batch_tokens=settings.batch_tokens or None,
        target=settings.latency_target_ms / 1000 or None,
    )
    listen(
        start.control,
        directory=start.address.parent,
        on_message=lambda message: queue.close() if isinstance(message, Stop) else None,
    )
    inference_worker(
        start.api,
        start.device,
        start.worker,
        request_queue=queue,
        transport=Port(start.address),
        workers_setup_status={},
        callback_runner=CallbackRunner(),
        restart_workers=True,
    )
