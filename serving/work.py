"""WorkQueue: what waits for a worker's engine. Filled by the port's thread, emptied by the loop's;
but what is brief need not wait.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from serving.batch import Item
from serving.batching import Batcher
from serving.brevity import BRIEF_SECONDS, Brevity
from serving.job import (
    BEGUN,
    CANCELLED,
    EXPIRED,
    REJECTED,
    Job,
    answer,
    count_samples,
    group_of,
    share,
)
from serving.prospect import Prospect
from serving.streams import Streams, Turn
from serving.wire import CANCEL, INFER, REPLY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serving.company import Company
    from serving.metrics import MetricsCollector
    from serving.served_model import ModelKey
    from serving.transport import Link
    from serving.wire import Message


EARLY_SECONDS = 2e-3
"""By which a deadline may be told before it has passed: timers have milliseconds."""


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
        at_once: Callable[[ModelKey], bool] = lambda _: True,
    ) -> None:
        """`delay` and `target` in seconds: how long a sample waits for company at most, and how
        long it may take altogether, which shortens the wait where batches take long. `rest`: for
        how many times as long as a batch has run the next one waits. `streams`: batches that may
        run at once, and so threads that may `take`. `shares`: whether a model is to leave
        threads to others. `at_once`: whether what is brief of a model may run without queueing.
        """
        self._batcher: Batcher[Job] = Batcher(
            batch_size=batch_size, batch_tokens=batch_tokens, capacity=capacity
        )
        self._streams: Streams[Job] = Streams(streams)
        self._prospect = Prospect(
            self._batcher, self._streams, delay=delay, target=target, shares=shares
        )
        self._at_once = at_once
        self._brevity = Brevity()
        self._handed_over: list[Turn[Job]] = []
        self._rest = rest
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
        """What an API process says. Whoever is to run it sleeps on until `rouse`."""
        answers: defaultdict[Link, list[dict[str, Any]]] = defaultdict(list)
        try:
            with self._changed:
                for message in messages:
                    if message.kind == INFER:
                        for refused, found in self._add(link, message):
                            answers[refused].append(found)
                    elif message.kind == CANCEL:
                        for found in self._cancel(link, message):
                            answers[link].append(found)
                self._metrics.queue_depth(len(self._batcher))
        finally:  # one that makes no sense keeps nobody else from being answered
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
                if self._handed_over:
                    return self._handed_over.pop()
                if not self._streams.free:
                    self._sleep(None)
                    continue
                rest = self._streams.rests_until - time.monotonic()
                if rest > 0:
                    self._changed.wait(rest)
                    continue
                turn, wake = self._next(time.monotonic(), crowded=self._crowded())
                if turn is not None:
                    return turn
                self._sleep(wake)
        return None

    def take_at_once(self, together: Company) -> Turn[Job] | None:
        """All of it as one batch, which waits for no company, if that is known to be brief, and
        nothing runs or waits: where all begins now there is nothing to plan.
        """
        (model, _), samples = together.group, together.samples
        with self._changed:
            now = time.monotonic()
            if self._busy(now) or not self._at_once(model):
                return None
            if not together.joins or not self._batcher.fits(samples, together.longest):
                return None
            if not self._brevity.known(together.group, together.tokens):
                return None
            if together.deadline < now + BRIEF_SECONDS:  # maybe nobody waits for it
                return None
            self._used[model] = now
            seconds = self._prospect.outlook(model, shared=False).lasts(samples)
            return self._begin(together.items(now, foretold=now + seconds), shared=False)

    def hand_over(self, turn: Turn[Job]) -> None:
        """Somebody else who takes is to run it."""
        with self._changed:
            self._handed_over.append(turn)
            self._changed.notify()

    @property
    def busy(self) -> bool:
        """Whether nothing that comes may run at once."""
        with self._changed:
            return self._busy(time.monotonic())

    def _busy(self, now: float) -> bool:
        resting = self._closed or now < self._streams.rests_until
        return resting or bool(self._streams.turns) or len(self._batcher) > 0

    def rouse(self) -> None:
        """Wake one thread if it would sleep past when there is something to run."""
        with self._changed:
            wake = self._batcher.wake
            if (
                wake is not None
                and self._streams.free
                and self._sleepers
                and wake < min(self._sleepers)
            ):
                self._changed.notify()

    def _next(self, now: float, *, crowded: bool) -> tuple[Turn[Job] | None, float | None]:
        """What is to run now, or when to look again."""
        pieces = partial(self._prospect.pieces, crowded=crowded)
        takes = partial(self._prospect.seconds, now, crowded=crowded)
        poll = self._batcher.poll(now, pieces=pieces, takes=takes)
        if poll.expired:
            self._expire(poll.expired)
        if poll.expired or poll.batch:
            self._metrics.queue_depth(len(self._batcher))
        if not poll.batch:
            return None, poll.wake
        for item in poll.batch:
            self._forget(item)
        shared = self._prospect.shared(poll.batch[0].payload.model, crowded=crowded)
        turn = self._begin(poll.batch, shared=shared)
        if self._streams.free:  # whoever waits for one is to see to what comes from now on
            self._changed.notify()
        return turn, poll.wake

    def _begin(self, batch: list[Item[Job]], *, shared: bool) -> Turn[Job]:
        now, samples = time.monotonic(), sum(item.samples for item in batch)
        outlook = self._prospect.outlook(batch[0].payload.model, shared=shared)
        turn = Turn(batch, shared, now, now + outlook.lasts(samples))
        self._streams.turns.append(turn)
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
            self._streams.rests_until = time.monotonic() + self._rest * seconds
            if not whole:
                return
            model, group = turn.batch[0].payload.model, turn.batch[0].group
            if not turn.shared:
                self._brevity.measured(group, turn.tokens, seconds)
            self._prospect.measured(
                model, samples=turn.samples, seconds=seconds, shared=turn.shared
            )
            self._prospect.learn(model, turn.batch, done=time.monotonic())

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
        tensors, group = message.tensors[0], group_of(fields)
        model, samples = group[0], count_samples(tensors)
        now, deadline, priority = time.monotonic(), fields["deadline"], fields["priority"]
        self._used[model] = now
        if deadline <= now:  # it has been answered by whoever asks
            self._metrics.dropped(EXPIRED, samples)
            return []
        if not len(self._batcher):
            self._streams.waited = False
        crowded = self._crowded(more=1)
        shared = self._prospect.shared(model, crowded=crowded)
        outlook, length = self._prospect.outlook(model, shared=shared), fields["length"]
        # In time is what has run by then: what has only begun is work for nobody.
        done = now + self._prospect.seconds(
            now, priority, group, samples, samples * length, crowded=crowded
        )
        late = done + outlook.margin - deadline
        hopeless = (
            len(self._batcher) > 0
            and late > 0
            and not self._prospect.tries(model, now, shared=shared)
        )
        leaving = None if hopeless else self._batcher.yielding(samples, to=priority)
        if leaving is None:
            self._metrics.dropped(REJECTED, samples)
            wait = self._prospect.seconds(now, priority, crowded=crowded)
            late = late if hopeless else 0.0
            return [(link, answer(fields["id"], REJECTED, wait=wait, late=late))]
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
            origin=link,
        )
        for other in leaving:
            self._batcher.discard(other)
            self._forget(other)
            self._metrics.dropped(REJECTED, other.samples)
        if not self._batcher.add(item):
            raise AssertionError("room was made for it")
        self._items[link][fields["id"]] = item
        return [self._displaced(other, now) for other in leaving] if leaving else []

    def _displaced(self, item: Item[Job], now: float) -> tuple[Link, dict[str, Any]]:
        wait = self._prospect.seconds(now, item.priority, crowded=self._crowded(more=1))
        return item.payload.link, answer(item.payload.id, REJECTED, wait=wait, late=0.0)

    def _crowded(self, *, more: int = 0) -> bool:
        """Whether what begins now has company: others run, or wait as some of them had to; `more`
        are about to.
        """
        streams = self._streams
        if streams.count == 1:
            return False
        if streams.turns:
            return True
        return streams.waited and more + sum(map(len, self._items.values())) > 1

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

    def _expire(self, items: Sequence[Item[Job]]) -> None:
        """They would have run later than now: one forecast was wrong, however many it let in."""
        models: defaultdict[ModelKey, list[Item[Job]]] = defaultdict(list)
        for item in items:
            self._forget(item)
            self._metrics.dropped(EXPIRED, item.samples)
            models[item.payload.model].append(item)
        for model, together in models.items():
            self._prospect.learn(model, together, done=time.monotonic())

    def _discard(self, items: list[Item[Job]]) -> None:
        expired = time.monotonic() + EARLY_SECONDS
        for item in items:
            if self._batcher.discard(item):
                reason = EXPIRED if item.deadline <= expired else CANCELLED
                self._metrics.dropped(reason, item.samples)
        self._metrics.queue_depth(len(self._batcher))

    def _forget(self, item: Item[Job]) -> None:
        self._items.get(item.payload.link, {}).pop(item.payload.id, None)
