"""Shadows: asks a shadow what another version has answered, and compares. Nobody waits for it.

A process of its own holds the shadows, and computes only where nobody else wants to. What an API
process may have under way to it is bounded; what comes on top is dropped before anything is done
for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundle.errors import TrainyardError
from serving.catalog import Catalog
from serving.dispatch import Dispatcher
from serving.errors import DeadlineExceededError, UnavailableError
from serving.routing.comparison import compare, in_order
from serving.routing.shadow_metrics import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from serving.awaited import Answer
    from serving.preprocessors import Preprocessors
    from serving.routing.comparison import Comparison
    from serving.routing.shadow_metrics import ShadowMetrics
    from serving.routing.table import RoutingTable
    from serving.served_model import Part, ServedModel

log = logging.getLogger(__name__)

CAPACITY = 64
"""Samples that an API process has under way to shadows. A larger request goes alone."""
SECONDS = 10.0
"""How long a shadow may take: what is older says nothing of it that its metrics do not."""
PAUSE_SECONDS = 1.0
"""How long nothing is asked of a shadow that could not answer: being told so is work too."""
SMALL = 4096
"""Numbers up to which answers are compared on the event loop: a thread takes longer to wake."""
NO_PRIORITY = 1


@dataclass(frozen=True)
class _Answered:
    """A request that was answered, and by whom."""

    served: ServedModel
    parts: Sequence[Part]
    answers: Sequence[Answer]

    def compare(
        self, other: ServedModel, parts: Sequence[Part], answers: Sequence[Answer]
    ) -> Comparison:
        """With what another version says. Raises EngineError if that is not finite."""
        return compare(
            self.served.manifest,
            in_order(self.parts, self.answers),
            other.manifest,
            in_order(parts, answers),
        )


class Shadows:
    """Those of one API process; all of it runs on its event loop."""

    def __init__(
        self,
        table: RoutingTable,
        metrics: ShadowMetrics,
        preprocessors: Preprocessors | None = None,
    ) -> None:
        """`preprocessors`: those of the process."""
        self._table = table
        self._metrics = metrics
        self._catalog = Catalog()
        self._dispatcher = Dispatcher(
            catalog=self._catalog, on_change=_nothing, preprocessors=preprocessors
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._comparing = asyncio.Lock()
        self._under_way = 0
        self._paused_until: dict[Pair, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._told: set[Pair] = set()
        """Whose answers could not be compared, for a reason that is in the log."""

    async def connect(self, address: Path) -> None:
        """Use the process that listens there, for as long as it lives."""
        await self._dispatcher.connect(address)

    def close(self) -> None:
        """Ask nothing any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._dispatcher.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def mirror(
        self,
        served: ServedModel,
        parts: Sequence[Part],
        answers: Sequence[Answer],
        again: Callable[[ServedModel], list[Part]],
    ) -> None:
        """`served` has answered: ask the model's shadow as well, if it is this request's turn.

        `again` makes the same request's parts for a version that takes other tensors.
        """
        route = self._table.route(served.info.name)
        shadow = None if route is None else route.shadow
        if shadow is None or self._closed or random.random() * 100 >= shadow.percent:
            return
        pair = Pair(served.info.name, served.info.version, shadow.version)
        other = self._catalog.get((pair.model, pair.shadow))
        if other is None:
            self._metrics.dropped(pair, "not_loaded")
            return
        if time.monotonic() < self._paused_until.get(pair, 0.0):
            self._metrics.dropped(pair, "paused")
            return
        samples = sum(len(part.indices) for part in parts)
        if self._under_way and self._under_way + samples > CAPACITY:
            self._metrics.dropped(pair, "full")
            return
        self._under_way += samples
        answered = _Answered(served, parts, answers)
        task = asyncio.ensure_future(self._ask(pair, answered, other, again))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, pair, samples))

    def _done(self, pair: Pair, samples: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._under_way -= samples
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._metrics.failed(pair)
        if pair not in self._told:
            self._told.add(pair)
            log.error("a shadow cannot be compared", exc_info=error)

    async def _ask(
        self,
        pair: Pair,
        answered: _Answered,
        other: ServedModel,
        again: Callable[[ServedModel], list[Part]] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        parts = answered.parts
        try:
            with self._catalog.using(other):
                if again is not None and not _alike(answered.served, other):
                    parts = await loop.run_in_executor(self._thread, again, other)
                again = None  # and with it the request's body
                found = await self._dispatcher.run(
                    other,
                    parts,
                    deadline=time.monotonic() + SECONDS,
                    timeout_ms=SECONDS * 1000,
                    priority=NO_PRIORITY,
                    routed=False,
                )
            compared = partial(answered.compare, other, parts, found)
            if sum(array.size for one in found for array in one.outputs.values()) <= SMALL:
                async with self._comparing:  # a batch is answered at once, and requests come too
                    await asyncio.sleep(0)
                    comparison = compared()
            else:
                comparison = await loop.run_in_executor(self._thread, compared)
        except (UnavailableError, DeadlineExceededError) as error:
            self._paused_until[pair] = time.monotonic() + PAUSE_SECONDS
            self._metrics.dropped(pair, error.code)
        except TrainyardError:
            self._metrics.failed(pair)
        else:
            seconds = max(answer.infer_seconds for answer in found)
            self._metrics.answered(pair, comparison, seconds)


def _alike(one: ServedModel, other: ServedModel) -> bool:
    """Whether what one version is asked can be asked of the other as it is."""
    return (
        one.manifest.inputs == other.manifest.inputs
        and one.manifest.preprocessing == other.manifest.preprocessing
        and one.info.batchable == other.info.batchable
    )


def _nothing() -> None:
    """No readiness depends on shadows."""
