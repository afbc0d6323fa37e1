"""WorkQueue: what waits for a worker's engine. Filled by the port's thread, emptied by the loop."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from serving.batch import Item
from serving.batching import Batcher
from serving.forecast import Forecast
from serving.streams import Streams, Turn
from serving.wire import CANCEL, INFER, REPLY, Message, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serving.metrics import MetricsCollector
    from serving.served_model import ModelKey
    from serving.transport import Link

OK = "ok"
REJECTED = "rejected"
"""The queue is full, or it would be too late."""
EXPIRED = "expired"
"""It does not run: the deadline passed while it waited, or it was taken back."""
REFUSED = "refused"
"""The model does not take this input."""
FAILED = "failed"
"""The model does not answer anything."""
BEGUN = "begun"
"""It runs, and nobody waits for it any more."""
GONE = "gone"
"""The model is not held here."""


Group = tuple["ModelKey", str]
"""What may run together: the model, and the signature of its inputs."""


class Job(NamedTuple):
    """One part of a request: what to run, and whom to tell."""

    link: Link
    id: int
    model: ModelKey
    tensors: Tensors
    foretold: float
    """When it should have run, on time.monotonic's clock."""
    routed: bool = False
    """Whether any version of the model might have been asked."""
    shared: bool = False
    """Whether it was foretold to run beside others."""


def answer(job_id: int, status: str, **fields: Any) -> dict[str, Any]:
    """One entry of a reply's "answers"."""
    return {"id": job_id, "status": status, **fields}


def share(batch: Sequence[Item[Job]]) -> float:
    """What each part has of the batch, of which only those count that name no version."""
    return 1.0 / max(1, sum(item.payload.routed for item in batch))


class WorkQueue:
    """Thread-safe. Answers at once what cannot be queued; the rest is taken, or expires."""

    def __init__(
        self,
        *,
        batch_size: int,
        delay: float,
        capacity: int,
        metrics: MetricsCollector,
        batch_tokens: int | None = None,
        target: float | None = None,
        rest: float = 0.0,
        streams: int = 1,
        shares: Callable[[ModelKey], bool] = lambda _: True,
    ) -> None:
        """`delay` and `target` in seconds: how long a sample waits for company at most, and how
        long it may take altogether, which shortens the wait where batches take long. `rest`: for
        how many times as long as a batch has run the next one waits. `streams`: batches that may
        run at once, and so threads that may `take`. `shares`: whether a model is to leave
        threads to others.
        """
        self._batcher: Batcher[Job] = Batcher(
            batch_size=batch_size, batch_tokens=batch_tokens, capacity=capacity
        )
        self._streams: Streams[Job] = Streams(streams)
        self._shares = shares
        self._forecasts = {shared: Forecast(delay=delay, target=target) for shared in (False, True)}
        """Of batches on all threads, and of those on one stream."""
        self._rest = rest
        self._rests_until = 0.0
        self._used: dict[ModelKey, float] = {}
        self._metrics = metrics
        self._changed = threading.Condition()
        self._items: defaultdict[Link, dict[int, Item[Job]]] = defaultdict(dict)
        self._sleepers: list[float] = []
        """When each thread that waits for a batch looks again by itself."""
        self._closed = False

    @property
    def streams(self) -> int:
        """Batches that may run at once."""
        return self._streams.count

    def receive(self, link: Link, *messages: Message) -> None:
        """What an API process says."""
        answers: defaultdict[Link, list[dict[str, Any]]] = defaultdict(list)
        with self._changed:
            for message in messages:
                if message.kind == INFER:
                    for refused, found in self._add(link, message):
                        answers[refused].append(found)
                elif message.kind == CANCEL:
                    for found in self._cancel(link, message):
                        answers[link].append(found)
            self._metrics.queue_depth(len(self._batcher))
            wake = self._batcher.wake
            # Threads that wake each other cost time.
            if wake is not None and self._sleepers and wake < min(self._sleepers):
                self._changed.notify()
        for asker, told in answers.items():
            asker.send(REPLY, {"answers": told}, [{}] * len(told))

    def lost(self, link: Link) -> None:
        """The API process is gone: nobody waits for what it asked."""
        with self._changed:
            self._discard(list(self._items.pop(link, {}).values()))

    def take(self) -> Turn[Job] | None:
        """Block until a batch is to be run; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                if not self._streams.free:
                    self._changed.wait()
                    continue
                rest = self._rests_until - time.monotonic()
                if rest > 0:
                    self._changed.wait(rest)
                    continue
                crowded = self._crowded()
                pieces = partial(self._pieces, crowded=crowded)
                poll = self._batcher.poll(time.monotonic(), pieces=pieces)
                if poll.expired:
                    self._expire(poll.expired)
                if poll.expired or poll.batch:
                    self._metrics.queue_depth(len(self._batcher))
                if poll.batch:
                    return self._begin(poll.batch, crowded=crowded)
                self._sleep(poll.wake)
        return None

    def _begin(self, batch: list[Item[Job]], *, crowded: bool) -> Turn[Job]:
        now, model = time.monotonic(), batch[0].payload.model
        shared = self._shared(model, crowded=crowded)
        seconds = self._forecasts[shared].outlook(model).lasts(sum(item.samples for item in batch))
        turn = Turn(batch, shared, now, now + seconds)
        self._streams.turns.append(turn)
        for item in batch:
            asked = self._items.get(item.payload.link)
            if asked is not None:
                asked.pop(item.payload.id, None)
        if self._streams.free:  # whoever waits for one is to see to what comes from now on
            self._changed.notify()
        return turn

    def _sleep(self, until: float | None) -> None:
        """Until then, or until there is something to do before."""
        looks = math.inf if until is None else until
        self._sleepers.append(looks)
        self._changed.wait(None if until is None else until - time.monotonic())
        self._sleepers.remove(looks)

    def done(self, turn: Turn[Job], seconds: float, *, whole: bool = True) -> None:
        """It has run, and took that long: what is still to come is planned by it, unless it was
        taken apart to find what is wrong with it.
        """
        with self._changed:
            self._streams.end(turn, waits=len(self._batcher) > 0)
            self._rests_until = time.monotonic() + self._rest * seconds
            if not whole:
                return
            model, forecast = turn.batch[0].payload.model, self._forecasts[turn.shared]
            forecast.measured(model, samples=turn.samples, seconds=seconds)
            self._learn(model, turn.batch)

    def idle(self, model: ModelKey) -> bool:
        """Whether nothing waits for the model, and it does not run."""
        with self._changed:
            running = any(turn.batch[0].payload.model == model for turn in self._streams.turns)
            return not running and all(key != model for key, _ in self._batcher.groups)

    def used(self) -> dict[ModelKey, float]:
        """When each model was last asked for, on time.monotonic's clock."""
        with self._changed:
            return dict(self._used)

    def close(self) -> None:
        """Let `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add(self, link: Link, message: Message) -> list[tuple[Link, dict[str, Any]]]:
        """The refusals of what is not queued, or not any more, and whose it was."""
        fields = message.fields
        tensors = message.tensors[0]
        model: ModelKey = tuple(fields["model"])
        samples = len(next(iter(tensors.values())))
        now, deadline, priority = time.monotonic(), fields["deadline"], fields["priority"]
        self._used[model] = now
        if not len(self._batcher):
            self._streams.waited = False
        shared = self._shared(model, crowded=self._crowded(more=1))
        forecast = self._forecasts[shared]
        outlook = forecast.outlook(model)
        group, length = (model, fields["signature"]), fields["length"]
        # In time is what has run by then: what has only begun is work for nobody.
        done = now + self._seconds(now, priority, group, samples, samples * length)
        late = done + outlook.margin - deadline
        hopeless = len(self._batcher) > 0 and late > 0 and not forecast.tries(model, now)
        leaving = None if hopeless else self._batcher.yielding(samples, to=priority)
        if leaving is None:
            self._metrics.dropped(REJECTED, samples)
            wait, late = self._seconds(now, priority), late if hopeless else 0.0
            return [(link, answer(fields["id"], REJECTED, wait=wait, late=late))]
        for other in leaving:
            self._batcher.discard(other)
            self._forget(other)
            self._metrics.dropped(REJECTED, other.samples)
        last = deadline - outlook.batch
        item = Item(
            Job(link, fields["id"], model, tensors, done, fields["routed"], shared),
            group=group,
            samples=samples,
            arrived=now,
            due=min(now + outlook.patience, last),
            deadline=deadline,
            presses=last - outlook.batch,
            saves=outlook.saves,
            pace=outlook.pace,
            priority=priority,
            length=length,
            alone=fields.get("alone", False),
        )
        if not self._batcher.add(item):
            raise AssertionError("room was made for it")
        self._items[link][fields["id"]] = item
        return [self._displaced(other, now) for other in leaving] if leaving else []

    def _displaced(self, item: Item[Job], now: float) -> tuple[Link, dict[str, Any]]:
        wait = self._seconds(now, item.priority)
        return item.payload.link, answer(item.payload.id, REJECTED, wait=wait, late=0.0)

    def _seconds(
        self,
        now: float,
        priority: int,
        group: Group | None = None,
        samples: int = 0,
        tokens: int = 0,
    ) -> float:
        """Until all has run which runs already, or waits and does not go after that priority, and
        so much more of a group, of which the last batch has one stream and not all of them.
        """
        streams, batches = self._streams.count, self._batcher.batches
        crowded = self._crowded(more=1)
        seconds = max(self._streams.left(now) / streams, self._rests_until - now)
        for key, waiting, of_them in self._batcher.ahead(priority):
            if key == group:
                samples += waiting
                tokens += of_them
            else:
                shared = self._shared(key[0], crowded=crowded)
                seconds += self._takes(key, waiting, batches(key, waiting, of_them), shared=shared)
        if group is not None:
            count = batches(group, samples, tokens)
            shared = self._shared(group[0], crowded=crowded)
            own = self._takes(group, samples, count, shared=shared)
            seconds += own
            if shared:
                seconds += (streams - 1) * own / max(count, min(streams, samples))
        return seconds

    def _takes(self, group: Group, samples: int, batches: int, *, shared: bool) -> float:
        """Seconds until so much of it has run, on one stream or all threads."""
        seconds = self._forecasts[shared].outlook(group[0]).takes(samples, batches)
        return seconds / self._streams.count if shared else seconds

    def _shared(self, model: ModelKey, *, crowded: bool) -> bool:
        """Whether what begins now of that model runs beside others."""
        return crowded and (self._streams.shared or self._shares(model))

    def _crowded(self, *, more: int = 0) -> bool:
        """Whether what begins now has company: others run, or wait as some of them had to; `more`
        are about to.
        """
        streams = self._streams
        if streams.count == 1:
            return False
        waiting = more + sum(map(len, self._items.values()))
        return bool(streams.turns) or (streams.waited and waiting > 1)

    def _pieces(self, group: Group, *, crowded: bool) -> int:
        """Into how many batches to share out what waits of it: as many as there are streams, since
        one that is free now has others free soon, before a large batch would have run.
        """
        return self._streams.count if crowded and self._shares(group[0]) else 1

    def _cancel(self, link: Link, message: Message) -> list[dict[str, Any]]:
        """What became of those that it asks about."""
        waiting = self._items.get(link, {})
        items = [waiting.pop(job_id, None) for job_id in message.fields["ids"]]
        self._discard([item for item in items if item is not None])
        return [self._verdict(link, job_id) for job_id in message.fields.get("begun", ())]

    def _verdict(self, link: Link, job_id: int) -> dict[str, Any]:
        """Whether that runs, and for how many seconds; else it has never begun, or its answer is on
        its way already.
        """
        for turn in self._streams.turns:
            for item in turn.batch:
                if item.payload.link is link and item.payload.id == job_id:
                    seconds = time.monotonic() - turn.began
                    return answer(job_id, BEGUN, infer=seconds, share=share(turn.batch))
        return answer(job_id, EXPIRED)

    def _learn(self, model: ModelKey, items: Sequence[Item[Job]]) -> None:
        """How much later they were done with now than each way of running had foretold."""
        for shared, forecast in self._forecasts.items():
            foretold = [i.payload.foretold for i in items if i.payload.shared == shared]
            if foretold:
                forecast.missed(model, foretold=foretold, done=time.monotonic())

    def _expire(self, items: Sequence[Item[Job]]) -> None:
        """They would have run later than now: one forecast was wrong, however many it let in."""
        models: defaultdict[ModelKey, list[Item[Job]]] = defaultdict(list)
        for item in items:
            self._forget(item)
            self._metrics.dropped(EXPIRED, item.samples)
            models[item.payload.model].append(item)
        for model, together in models.items():
            self._learn(model, together)

    def _discard(self, items: list[Item[Job]]) -> None:
        for item in items:
            if self._batcher.discard(item):
                self._metrics.dropped("cancelled", item.samples)
        self._metrics.queue_depth(len(self._batcher))

    def _forget(self, item: Item[Job]) -> None:
        self._items.get(item.payload.link, {}).pop(item.payload.id, None)
