"""A worker process: loads the models, proves them, and answers batches until it is told to stop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from litserve import LitAPI
from litserve.callbacks import CallbackRunner
from litserve.loops import inference_worker

from bundle.engine.cores import available_cores
from bundle.errors import TrainyardError
from serving.control import Failed, Ready, Stop, listen
from serving.logs import configure_logging
from serving.loop import EngineLoop, unsendable
from serving.metrics import MetricsCollector, UncountedWork
from serving.preprocessors import Preprocessors
from serving.priority import REST, give_way
from serving.routing.halt import be_haltable
from serving.routing.messages import Hold
from serving.settings import NO_FALLBACK
from serving.shelf import Shelf
from serving.signals import ignore_signals
from serving.streams import count_streams
from serving.transport import Port
from serving.work import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

    from bundle.uri import Resolved
    from serving.models import LoadedModel
    from serving.served_model import ModelKey
    from serving.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")


class ModelsAPI(LitAPI):  # type: ignore[misc] # LitServe ships no types
    """All models of the server behind one LitAPI. Travels to the worker before it is set up."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(loop=EngineLoop())
        self.settings = settings
        self._local: WorkerStart | None = None
        self._shelf: Shelf | None = None
        self._preprocessors: Preprocessors | None = None
        self._metrics: MetricsCollector | None = None

    def attach(self, start: WorkerStart, *, metrics: MetricsCollector) -> Shelf:
        """What only the worker's process has, and has before LitServe calls `setup`."""
        self._local = start
        self._metrics = metrics
        self._preprocessors = Preprocessors()
        self._shelf = Shelf(
            self._load,
            metrics=metrics,
            tell=start.control.send,
            bounded=bool(self.settings.max_models or self.settings.memory_budget_mb),
        )
        return self._shelf

    @property
    def metrics(self) -> MetricsCollector:
        """The worker's metrics."""
        return _attached(self._metrics)

    @property
    def models(self) -> Mapping[ModelKey, LoadedModel]:
        """Everything that can be run now."""
        return _attached(self._shelf).models

    def setup(self, device: str) -> None:
        """Called by LitServe in the worker. Leaves the process if a model cannot be loaded."""
        start = _attached(self._local)
        try:
            _attached(self._shelf).fill(start.sources, pinned=start.pinned)
        except TrainyardError as error:
            start.control.send(Failed.of(error))
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            log.exception("a model cannot be loaded")
            start.control.send(Failed(f"{type(error).__name__}: {error}", 1))
            raise SystemExit(1) from error
        log.info("models loaded", extra={"fields": {"device": device, "models": len(self.models)}})

    def catalog(self) -> dict[str, Any]:
        """What API processes are told of the models."""
        return _attached(self._shelf).catalog()

    def begin(self, port: Port, queue: WorkQueue) -> None:
        """Every model is loaded and proved, and the port is open."""
        shelf = _attached(self._shelf)
        shelf.report()
        _attached(self._local).control.send(Ready())
        shelf.start(port, queue)

    def _load(self, source: Resolved) -> LoadedModel:
        # Imported here because it loads the runtime, which the processes that the supervisor forks
        # are better off without.
        from serving.models import load_model

        settings = self.settings
        return load_model(
            source,
            variant=settings.variant,
            provider=settings.provider,
            fallback=settings.fallback != NO_FALLBACK,
            threads=settings.threads,
            batch_size=settings.batch_size,
            streams=_attached(self._local).streams > 1,
            preprocessors=_attached(self._preprocessors),
        )


def _attached(value: T | None) -> T:
    if value is None:
        raise AssertionError("only a worker's process has this")
    return value


@dataclass(frozen=True)
class WorkerStart:
    """What a worker process is started with."""

    api: ModelsAPI
    device: str
    worker: int
    address: Path
    """Socket to listen on."""
    control: Connection
    sources: tuple[Resolved, ...]
    """What to hold from the start."""
    pinned: frozenset[Resolved]
    """Those of them without which the server is not to start."""
    shadow: bool = False
    """Whether it holds versions that answer nobody: it gives way to everything else."""

    @property
    def streams(self) -> int:
        """Batches that may run at once, each on a thread at least."""
        asked = self.api.settings.streams
        return 1 if self.shadow else min(self._threads, asked or count_streams(self._threads))

    @property
    def _threads(self) -> int:
        return self.api.settings.threads or available_cores()


def run_worker(start: WorkerStart) -> None:
    """The process's main function."""
    ignore_signals()
    settings = start.api.settings
    configure_logging(settings.log_level)
    if start.shadow:
        be_haltable()
        import serving.models  # noqa: F401 - what is left over by others is too little to import it

        give_way()
    metrics = UncountedWork() if start.shadow else MetricsCollector()
    shelf = start.api.attach(start, metrics=metrics)
    queue = WorkQueue(
        batch_size=settings.batch_size,
        delay=settings.batch_delay_ms / 1000,
        capacity=settings.queue_size,
        metrics=metrics,
        batch_tokens=settings.batch_tokens or None,
        target=settings.latency_target_ms / 1000 or None,
        rest=REST if start.shadow else 0.0,
        streams=start.streams,
        shares=shelf.shares,
        at_once=shelf.computes,
    )

    def obey(message: object) -> None:
        if isinstance(message, Stop):
            queue.close()
        elif isinstance(message, Hold):
            shelf.hold(message.sources)

    listen(start.control, directory=start.address.parent, on_message=obey)
    inference_worker(
        start.api,
        start.device,
        start.worker,
        request_queue=queue,
        transport=Port(start.address, instead=unsendable),
        workers_setup_status={},
        callback_runner=CallbackRunner(),
        restart_workers=True,
    )
