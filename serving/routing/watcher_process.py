"""The watcher's process: asks the registry, and does to it what the admin API is asked for.

Its main thread does so, and waits as long as the registry takes. What must not wait for that, as
taking the traffic from a bad challenger, is done on the thread that hears the supervisor.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundle.address import tracking_uri
from bundle.errors import TrainyardError
from bundle.loading import loading
from bundle.uri import default_cache, fetch_version
from serving.control import Ready, Sender, Stop, listen
from serving.logs import configure_logging
from serving.metrics import MetricsCollector
from serving.process_name import call_this_process
from serving.routing.administration import (
    CHALLENGERS,
    Administration,
    challenger_actions,
    registry_actions,
)
from serving.routing.enforcer import Enforcer
from serving.routing.fetcher import Fetcher
from serving.routing.last_known_good import LastKnownGood
from serving.routing.messages import Advance, Call, Fetched, Look, NotTaken, Observed, Settled
from serving.routing.orders import Orders
from serving.routing.patience import bound_patience
from serving.routing.schedule import Schedule
from serving.routing.sentry import Sentry
from serving.routing.watcher import Watcher
from serving.settings import ROLLBACK
from serving.signals import ignore_signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

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
    sender, metrics = Sender(start.control), MetricsCollector()
    orders = Orders(start.wanted, tell=sender.send)
    enforcer = Enforcer(
        orders,
        sentry=Sentry() if start.settings.guardrail == ROLLBACK else None,
        metrics=metrics,
        post=inbox.put,
    )
    for wanted in start.settled:
        enforcer.serves(wanted)
    cache = default_cache()
    store = LastKnownGood(cache, registry_uri=tracking_uri())
    disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
    hear = partial(
        sort_out,
        enforcer=enforcer,
        challengers=Administration(challenger_actions(enforcer)),
        keep=lambda wanted: disk.submit(store.write, wanted),
        tell=sender.send,
        post=inbox.put,
    )
    listen(start.control, directory=start.directory, on_message=hear)
    # Imported here because MLflow takes seconds, and the supervisor, which imports this module,
    # must not have the threads that it starts.
    with loading():
        from bundle.registry import ModelRegistry
        from serving.routing.follower import Follower

    registry = ModelRegistry()
    fetcher = Fetcher(partial(fetch_version, ModelRegistry(), cache=cache), inbox.put)
    watcher = Watcher(
        {
            known.uri: Follower(known.uri, registry=registry, fetch=fetcher.begin, known=known)
            for known in start.wanted
        },
        orders=orders,
        store=store,
        metrics=metrics,
        periodic=start.settings.poll_seconds > 0,
    )
    with suppress(TrainyardError):  # which the first poll tells of
        registry.warm_up()
    sender.send(Ready())
    watch(
        watcher,
        Administration(registry_actions(registry)),
        inbox,
        sender.send,
        period=start.settings.poll_seconds,
    )
    disk.shutdown()
    sender.close()


def sort_out(
    message: object,
    *,
    enforcer: Enforcer,
    challengers: Administration,
    keep: Callable[[Wanted], object],
    tell: Callable[[object], object],
    post: Callable[[object], object],
) -> None:
    """What the supervisor says: what must not wait for the registry is done, the rest is posted.

    `keep` and `tell` do not wait either.
    """
    if isinstance(message, Observed):
        enforcer.observed(message)
    elif isinstance(message, Settled):
        enforcer.serves(message.wanted)
        keep(message.wanted)
    elif isinstance(message, Call) and message.action == CHALLENGERS:
        tell(challengers.answer(message))
    else:
        post(message)


def watch(
    watcher: Watcher,
    administration: Administration,
    inbox: queue.SimpleQueue[object],
    tell: Callable[[object], object],
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
        if isinstance(message, Fetched):
            watcher.fetched(message)
        elif isinstance(message, Look):
            schedule.ring()
        elif isinstance(message, Advance):
            watcher.advance(message)
        elif isinstance(message, NotTaken):
            watcher.not_taken(message)
        elif isinstance(message, Call):
            result = administration.answer(message)
            tell(result)
            if administration.changed(message, result):
                watcher.poll()
