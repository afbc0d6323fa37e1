"""Shelf: the models that a worker holds. New ones are loaded beside those that answer, on a thread.

One that is no longer to be held leaves in three steps: API processes are told, they say that they
will not ask for it again, and what they had asked is answered. Only then is its memory given back.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import time
from typing import TYPE_CHECKING, Any, Protocol

from bundle.command import describe
from bundle.errors import RequestError, TrainyardError
from serving.heap import give_back
from serving.routing.messages import Holding
from serving.vital import vital_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bundle.uri import Resolved
    from serving.metrics import MetricsCollector
    from serving.models import LoadedModel
    from serving.served_model import ModelKey

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""How often it is looked whether what is to leave is free to go."""
ROOM_SECONDS = 5.0
"""Longest that loading waits for what is to leave."""
USED_SECONDS = 10.0
"""How often the supervisor is told which models are used."""


class Offers(Protocol):
    """Where API processes are told what there is."""

    def announce(self, catalog: dict[str, Any]) -> None: ...

    def released(self, serial: int) -> bool:
        """Whether every API process has let go of what that catalog no longer has."""


class Uses(Protocol):
    """What still waits for a model, or runs."""

    def idle(self, model: ModelKey) -> bool: ...

    def used(self) -> dict[ModelKey, float]:
        """When each model was last asked for, on time.monotonic's clock."""


class Shelf:
    """Filled once before the worker is ready; from then on changed by its own thread only."""

    def __init__(
        self,
        load: Callable[[Resolved], LoadedModel],
        *,
        metrics: MetricsCollector,
        tell: Callable[[object], None],
        bounded: bool = False,
    ) -> None:
        """`tell` reaches the supervisor. `bounded`: whether what is held has to fit into a budget,
        so that nothing is loaded beside what leaves.
        """
        self._bounded = bounded
        self.models: dict[ModelKey, LoadedModel] = {}
        self._load_model = load
        self._metrics = metrics
        self._tell = tell
        self._loaded: dict[Resolved, LoadedModel] = {}
        self._refused: dict[Resolved, str] = {}
        self._offered: tuple[Resolved, ...] = ()
        self._leaving: dict[Resolved, int] = {}
        """By the number of the first catalog without it."""
        self._serial = 0
        self._used: dict[ModelKey, float] = {}
        self._inbox: queue.SimpleQueue[tuple[Resolved, ...]] = queue.SimpleQueue()

    def fill(self, sources: Sequence[Resolved], *, pinned: Collection[Resolved]) -> None:
        """Load what there is to be at the start. Raises TrainyardError.

        One of several versions of a model may be refused, but none of the pinned, and not all.
        """
        errors: dict[str | None, TrainyardError] = {}
        for source in sources:
            self._tell(Holding(frozenset(), loading=source))
            try:
                self._load(source)
            except TrainyardError as error:
                if source in pinned:
                    raise
                self._refuse(source, describe(error))
                errors.setdefault(source.name, error)
        loaded = {source.name for source in self._loaded}
        for name, first in errors.items():
            if name not in loaded:
                raise first
        self._offered = tuple(self._loaded)

    def report(self) -> None:
        """Tell the supervisor what is held."""
        used = {source: self._used.get(model.key, 0.0) for source, model in self._loaded.items()}
        refused = tuple(self._refused.items())
        self._tell(Holding(frozenset(self._offered), refused, used=used))

    def start(self, offers: Offers, uses: Uses) -> None:
        """Obey `hold` from now on."""
        vital_thread("shelf", lambda: self._run(offers, uses))

    def shares(self, key: ModelKey) -> bool:
        """From any thread: whether batches of that model are to run beside others. All of its
        versions do or none does, as their times are compared.
        """
        name, _ = key
        return all(
            model.narrow is not None for model in list(self.models.values()) if model.name == name
        )

    def computes(self, key: ModelKey) -> bool:
        """From any thread: whether that model keeps a core busy, rather than waiting for a GPU."""
        model = self.models.get(key)
        return model is not None and model.engine.provider == "cpu"

    def hold(self, sources: tuple[Resolved, ...]) -> None:
        """From any thread: these, and no others, as soon as it can be."""
        self._inbox.put(sources)

    def catalog(self) -> dict[str, Any]:
        """What API processes are told."""
        infos = [dataclasses.asdict(self._loaded[source].info) for source in self._offered]
        return {"serial": self._serial, "models": infos}

    def _run(self, offers: Offers, uses: Uses) -> None:
        while True:
            try:
                sources = self._inbox.get(timeout=LOOK_SECONDS if self._leaving else USED_SECONDS)
            except queue.Empty:
                self._let_go(offers, uses)
                self._report_use(uses)
                continue
            while not self._inbox.empty():
                sources = self._inbox.get()
            self._follow(sources, offers, uses)

    def _follow(self, sources: tuple[Resolved, ...], offers: Offers, uses: Uses) -> None:
        self._offer(tuple(source for source in sources if source in self._loaded), offers)
        if self._bounded:
            self._make_room(offers, uses)
        self._refused = {s: reason for s, reason in self._refused.items() if s in sources}
        for source in sources:
            if source not in self._loaded and source not in self._refused:
                self._tell(Holding(frozenset(self._offered), loading=source))
                self._try_to_load(source)
                if not self._inbox.empty():  # what is wanted may have changed meanwhile
                    break
        self._offer(tuple(source for source in sources if source in self._loaded), offers)
        self.report()

    def _try_to_load(self, source: Resolved) -> None:
        try:
            self._load(source)
        except TrainyardError as error:
            self._refuse(source, describe(error))
        except Exception as error:  # a version must not stop those that answer
            log.exception("a version cannot be loaded")
            self._refuse(source, f"{type(error).__name__}: {error}")

    def _load(self, source: Resolved) -> None:
        model = self._load_model(source)
        if model.key in self.models:
            raise RequestError(
                f"two models are called {model.name!r} and have version {model.version!r}",
                field="model",
                remedy="give one of them another name: --model NAME=URI",
            )
        self._loaded[source] = model
        self.models[model.key] = model
        self._metrics.model(model.info)

    def _refuse(self, source: Resolved, reason: str) -> None:
        self._refused[source] = reason

    def _offer(self, offered: tuple[Resolved, ...], offers: Offers) -> None:
        if offered == self._offered:
            return
        self._offered = offered
        self._serial += 1
        for source in self._loaded:
            if source in offered:
                self._leaving.pop(source, None)
            else:
                self._leaving.setdefault(source, self._serial)
        offers.announce(self.catalog())

    def _make_room(self, offers: Offers, uses: Uses) -> None:
        """Wait a little for what is to leave, before more is loaded."""
        deadline = time.monotonic() + ROOM_SECONDS
        while self._leaving and time.monotonic() < deadline:
            self._let_go(offers, uses)
            time.sleep(LOOK_SECONDS)

    def _report_use(self, uses: Uses) -> None:
        used = uses.used()
        if used != self._used:
            self._used = used
            self.report()

    def _let_go(self, offers: Offers, uses: Uses) -> None:
        """Forget what nobody will ask for again."""
        held = len(self._loaded)
        for source, serial in list(self._leaving.items()):
            key = self._loaded[source].key
            if offers.released(serial) and uses.idle(key):
                del self._leaving[source]
                model = self._loaded.pop(source)
                del self.models[key]
                self._metrics.model(model.info, held=False)
                log.info(
                    "a version is unloaded",
                    extra={"fields": {"model": model.name, "version": model.version}},
                )
        if len(self._loaded) < held:
            give_back()
