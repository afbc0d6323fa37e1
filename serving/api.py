"""ApiProcess: speaks HTTP, decodes and preprocesses, and asks the workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, cast

import uvicorn

from serving.acceptor import Acceptor, Connection
from serving.access import AccessLog
from serving.application import Application
from serving.arrivals import Arrivals
from serving.cache import RowCache
from serving.calls import Calls
from serving.catalog import Catalog
from serving.chooser import Chooser
from serving.control import Drain, Ready, Sender, ShadowUp, WorkerUp, listen
from serving.dispatch import Dispatcher
from serving.drain import DrainPlan, Lifecycle
from serving.errors import ServingError, UnavailableError
from serving.garbage import freeze_loaded
from serving.guard import Guard
from serving.intake import Intake
from serving.logs import configure_logging
from serving.metrics import MetricsCollector, RequestRecord
from serving.preprocessors import Preprocessors
from serving.protocol import HttpProtocol
from serving.routes.admin import admin_endpoints
from serving.routes.infer import InferRoutes
from serving.routes.metrics import metrics_endpoints
from serving.routes.models import model_endpoints
from serving.routes.open_inference import open_inference_endpoints
from serving.routes.openapi import with_openapi
from serving.routes.page import page_endpoints
from serving.routes.predict import Predictor
from serving.routes.probes import probe_endpoints
from serving.routes.webhook import webhook_endpoints
from serving.routing.messages import Result, Routes
from serving.routing.recorder import Recorder, until_next_tick
from serving.routing.shadow import Shadows
from serving.routing.shadow_metrics import ShadowMetrics
from serving.routing.table import RoutingTable
from serving.scraper import Scraper
from serving.signals import ignore_signals
from serving.trace_endpoint import find_endpoint
from serving.tracing import Tracer

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from multiprocessing.connection import Connection as Pipe
    from pathlib import Path

    from starlette.types import ASGIApp

    from serving.crowd import Place
    from serving.guard import ApiKey
    from serving.routing.halt import Halt
    from serving.served_model import ModelKey
    from serving.settings import Settings
    from serving.signature import WebhookSignature

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which load balancers drop a connection that is not used."""
WORKER_SECONDS = 2.0
"""How long a process that takes another's place looks for a worker before it takes requests."""
LEAST_BUFFERED_MB = 64.0
"""That may wait for a worker which does not read, however little of bodies may be held: the tensors
of a picture are larger than it is."""
GRACE_SECONDS = 1.0
"""After the deadline, for the last error bodies to be written."""


class ApiProcess:
    """One of the processes that share the listening socket."""

    def __init__(
        self,
        settings: Settings,
        *,
        first: bool,
        control: Pipe,
        directory: Path,
        lifespan: ASGIApp,
        keys: tuple[ApiKey, ...],
        halt: Halt,
        place: Place,
        signature: WebhookSignature | None = None,
    ) -> None:
        """`first`: whether the server starts, rather than this one process. `halt`: of shadows,
        while requests are with the workers. `place`: among the API processes. `signature`: of the
        webhook, if there is one.
        """
        self._settings = settings
        self._control = control
        self._directory = directory
        self._catalog = Catalog()
        self._lifecycle = Lifecycle(expected_workers=settings.workers, first=first)
        self._first = first
        self._started = asyncio.Event()
        preprocessors = Preprocessors()
        self._table = RoutingTable()
        self._sender = sender = Sender(control)
        self._recorder = Recorder(self._table, sender.send)
        self._dispatcher = Dispatcher(
            catalog=self._catalog,
            on_change=self._workers_changed,
            on_overdue=self._recorder.overdue,
            preprocessors=preprocessors,
            most_buffered=max(LEAST_BUFFERED_MB, settings.max_held_mb) * 2**20,
        )
        self._metrics = metrics = MetricsCollector()
        self._arrivals = Arrivals()
        self._intake = Intake(
            settings,
            dispatcher=self._dispatcher,
            lifecycle=self._lifecycle,
            metrics=metrics,
            arrivals=self._arrivals,
            halt=halt,
        )
        self._halt = halt
        self._place = place
        self._shadows = Shadows(self._table, ShadowMetrics(), preprocessors)
        self._calls = Calls(sender.send)
        self._scraper = Scraper()
        chooser = Chooser(self._catalog, self._table)
        size = int(settings.cache_mb * 2**20)
        cache = RowCache(size, metrics=metrics) if size else None
        endpoint = find_endpoint(settings.otlp_endpoint, os.environ)
        self._tracer = Tracer(endpoint) if endpoint else None
        endpoints = [
            *Predictor(
                settings, chooser=chooser, intake=self._intake, shadows=self._shadows, cache=cache
            ).endpoints(),
            *InferRoutes(
                settings, chooser=chooser, intake=self._intake, shadows=self._shadows
            ).endpoints(),
            *probe_endpoints(self._lifecycle, self._catalog, self._table),
            *model_endpoints(settings, self._lifecycle, self._catalog, chooser, self._scraper),
            *open_inference_endpoints(self._lifecycle, self._catalog, self._table, self._arrivals),
            *admin_endpoints(self._calls, self._arrivals),
            *webhook_endpoints(signature, sender.send, self._arrivals),
            *metrics_endpoints(self._scraper),
        ]
        described = with_openapi(
            endpoints, settings=settings, catalog=self._catalog, keyed=bool(keys)
        )
        self._application = Application(
            [*described, *(page_endpoints() if settings.page == "on" else ())],
            lifespan=lifespan,
            metrics=metrics,
            guard=Guard(keys),
            extra_headers=self._extra_headers,
            observe=self._recorder.record,
            access=AccessLog(slow_seconds=settings.slow_request_ms / 1000 or None),
            tracer=self._tracer,
        )
        self._listening = False
        self._told_ready = False
        self._connecting: set[asyncio.Task[None]] = set()

    def run(self, listener: socket.socket) -> None:
        """Serve until the supervisor says to drain; then until everything is answered."""
        ignore_signals()
        configure_logging(self._settings.log_level)
        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http=partial(  # type: ignore[arg-type] # uvicorn calls it as it would a class
                HttpProtocol,
                head_seconds=self._settings.head_timeout_ms / 1000,
                on_refused=self._refused,
                on_connections=self._place.tell,
            ),
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._server = _HttpServer(
            config,
            on_listening=self._started_listening,
            place=self._place,
        )
        self._server.run(sockets=[listener])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the HTTP server runs: obey the supervisor."""
        loop = asyncio.get_running_loop()
        listen(
            self._control,
            directory=self._directory,
            on_message=partial(self._heard, loop),
        )
        telling = asyncio.ensure_future(self._tell_outcomes())
        if not self._first:  # others may have room for who comes, and the socket has for all
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WORKER_SECONDS):
                    await self._started.wait()
        yield
        telling.cancel()
        self._shadows.close()
        self._dispatcher.close()
        self._intake.close()
        self._scraper.close()
        await asyncio.to_thread(self._sender.close)
        if self._tracer is not None:
            self._tracer.close()

    def _heard(self, loop: asyncio.AbstractEventLoop, message: object) -> None:
        """Called on the thread that listens to the supervisor."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: the process is stopping
            loop.call_soon_threadsafe(self._obey, message)

    def _obey(self, message: object) -> None:
        if isinstance(message, (WorkerUp, ShadowUp)):
            users = self._dispatcher if isinstance(message, WorkerUp) else self._shadows
            if isinstance(message, ShadowUp):
                self._halt.of(message.pid)
            task = asyncio.ensure_future(users.connect(message.address))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        elif isinstance(message, Drain):
            self._drain(message.plan)
        elif isinstance(message, Routes):
            self._table.update(message, self._held())
        elif isinstance(message, Result):
            self._calls.answered(message)

    def _held(self) -> set[ModelKey]:
        return {info.key for info in self._catalog.infos()}

    async def _tell_outcomes(self) -> None:
        while True:
            await asyncio.sleep(until_next_tick())
            self._recorder.tell()

    def _refused(self, status: int, code: str) -> None:
        """What came was no request."""
        self._metrics.request(RequestRecord("malformed"), status=status, error=code, seconds=0.0)

    def _drain(self, plan: DrainPlan) -> None:
        self._lifecycle.drain()
        self._shadows.close()
        loop, now = asyncio.get_running_loop(), time.monotonic()
        loop.call_later(plan.accept_until - now, self._stop_accepting, plan)
        loop.call_later(plan.deadline - now, self._end_all)

    def _end_all(self) -> None:
        self._dispatcher.fail_all(_stopping)
        self._intake.fail_all(_stopping)
        self._arrivals.stop(_stopping)
        self._calls.fail_all(_stopping)

    def _stop_accepting(self, plan: DrainPlan) -> None:
        left = max(0.0, plan.deadline - time.monotonic())
        # uvicorn types it as whole seconds, and hands it to asyncio, which takes any.
        self._server.config.timeout_graceful_shutdown = left + GRACE_SECONDS  # type: ignore[assignment]
        self._server.should_exit = True

    def _workers_changed(self) -> None:
        self._table.settle(self._held())
        self._lifecycle.update(workers=self._dispatcher.workers)
        if self._lifecycle.started:
            self._started.set()
        self._tell_ready()

    def _started_listening(self) -> None:
        self._listening = True
        self._place.tell(0)
        self._tell_ready()

    def _tell_ready(self) -> None:
        if self._listening and self._lifecycle.started and not self._told_ready:
            self._told_ready = True
            freeze_loaded()
            self._sender.send(Ready())

    def _extra_headers(self) -> Mapping[str, str]:
        return {"Connection": "close"} if self._lifecycle.draining else {}


class _HttpServer(uvicorn.Server):
    """Tells when it listens, and leaves signals to the supervisor."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_listening: Callable[[], None],
        place: Place,
    ) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self._place = place

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or ():
            acceptor = Acceptor(
                listener,
                self._protocol,
                backlog=self.config.backlog,
                crowded=lambda: self._place.crowded,
                leave=self._place.leave,
            )
            acceptor.start()
            self.servers.append(acceptor)  # type: ignore[arg-type] # uvicorn closes it as its own
        self._on_listening()

    def _protocol(self) -> Connection:
        kind = cast("Callable[..., Connection]", self.config.http_protocol_class)
        return kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stopping() -> ServingError:
    return UnavailableError("the server stops before the answer was found", code="stopping")
