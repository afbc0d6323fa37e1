"""The watcher's process: asks the registry, and does to it what the admin API is asked for."""

from __future__ import annotations

import queue
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundle.errors import TrainyardError
from bundle.loading import loading
from bundle.uri import default_cache, fetch_version
from serving.control import Ready, Stop, listen
from serving.logs import configure_logging
from serving.metrics import MetricsCollector
from serving.process_name import call_this_process
from serving.routing.fetcher import Fetcher
from serving.routing.last_known_good import LastKnownGood
from serving.routing.messages import Call, Fetched, Look, NotTaken, Observed, Settled
from serving.routing.patience import bound_patience
from serving.routing.schedule import Schedule
from serving.routing.sentry import Sentry
from serving.routing.watcher import Watcher
from serving.settings import ROLLBACK
from serving.signals import ignore_signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from serving.routing.administration import Administration
    from serving.routing.wanted import Wanted
    from serving.settings import Settings


@dataclass(frozen=True)
class WatcherStart:
    """What the process is started with."""

    settings: Settings
    wanted: tuple[Wanted, ...]
    """What is known to be wanted, of the models that the registry routes."""
    settled: tuple[Wanted, ...]
    """What is served of them."""
    control: Connection
    directory: Path


def run_watcher(start: WatcherStart) -> None:
    """The process's main function."""
    ignore_signals()
    call_this_process("watcher-0")
    configure_logging(start.settings.log_level)
    bound_patience()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    listen(start.control, directory=start.directory, on_message=inbox.put)
    # Imported here because MLflow takes seconds, and the supervisor, which imports this module,
    # must not have the threads that it starts.
    with loading():
        from bundle.registry import ModelRegistry
        from serving.routing.administration import Administration
        from serving.routing.follower import Follower

    registry, cache = ModelRegistry(), default_cache()
    fetcher = Fetcher(partial(fetch_version, ModelRegistry(), cache=cache), inbox.put)
    watcher = Watcher(
        {
            known.uri: Follower(known.uri, registry=registry, fetch=fetcher.begin, known=known)
            for known in start.wanted
        },
        known=start.wanted,
        store=LastKnownGood(cache, registry_uri=registry.uri),
        control=start.control,
        metrics=MetricsCollector(),
        sentry=Sentry() if start.settings.guardrail == ROLLBACK else None,
        periodic=start.settings.poll_seconds > 0,
    )
    for wanted in start.settled:
        watcher.serves(wanted)
    with suppress(TrainyardError):  # which the first poll tells of
        registry.warm_up()
    start.control.send(Ready())
    watch(
        watcher,
        Administration(registry, judgements=watcher.judgements),
        inbox,
        start.control,
        period=start.settings.poll_seconds,
    )


def watch(
    watcher: Watcher,
    administration: Administration,
    inbox: queue.SimpleQueue[object],
    control: Connection,
    *,
    period: float,
) -> None:
    """Ask now and every `period` seconds, 0 for never, and obey in between, until told to stop.

    However often it is told to look: it looks once for all that came in the meantime. What the
    registry could not be told it is told again, whatever the period.
    """
    schedule = Schedule(period)
    while True:
        schedule.owing(watcher.owing)
        try:
            message = inbox.get(timeout=schedule.seconds())
        except queue.Empty:
            watcher.poll()
            schedule.looked()
            continue
        if isinstance(message, Stop):
            return
        if isinstance(message, Settled):
            watcher.settled(message.wanted)
        elif isinstance(message, Observed):
            watcher.observed(message)
        elif isinstance(message, Fetched):
            watcher.fetched(message)
        elif isinstance(message, Look):
            schedule.ring()
        elif isinstance(message, NotTaken):
            watcher.not_taken(message)
        elif isinstance(message, Call):
            result = administration.answer(message)
            control.send(result)
            if administration.changed(message, result):
                watcher.poll()
