"""Prospect: when what waits for an engine will have run, on all its threads or beside others. Pure:
it is told the time, and owns no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.forecast import Forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serving.batch import Item
    from serving.batching import Batcher
    from serving.forecast import Outlook
    from serving.job import Group, Job
    from serving.served_model import ModelKey
    from serving.streams import Streams


class Prospect:
    """Of one engine, by what it has run, runs, and is to run."""

    def __init__(
        self,
        batcher: Batcher[Job],
        streams: Streams[Job],
        *,
        delay: float,
        target: float | None,
        shares: Callable[[ModelKey], bool],
    ) -> None:
        """`delay` and `target` as `WorkQueue` has them. `shares`: whether a model is to leave
        threads to others.
        """
        self._batcher = batcher
        self._streams = streams
        self._shares = shares
        self._forecasts = {shared: Forecast(delay=delay, target=target) for shared in (False, True)}
        """Of batches on all threads, and of those on one stream."""

    def outlook(self, model: ModelKey, *, shared: bool) -> Outlook:
        """Of its batches that run so."""
        return self._forecasts[shared].outlook(model)

    def tries(self, model: ModelKey, now: float, *, shared: bool) -> bool:
        """Whether to let one in though it would be late, to see what it takes."""
        return self._forecasts[shared].tries(model, now)

    def shared(self, model: ModelKey, *, crowded: bool) -> bool:
        """Whether what begins now of that model runs beside others."""
        return crowded and (self._streams.shared or self._shares(model))

    def pieces(self, group: Group, *, crowded: bool) -> int:
        """Into how many batches to share out what waits of it: as many as there are streams, since
        one that is free now has others free soon, before a large batch would have run.
        """
        return self._streams.count if crowded and self._shares(group[0]) else 1

    def seconds(
        self,
        now: float,
        priority: int,
        group: Group | None = None,
        samples: int = 0,
        tokens: int = 0,
        *,
        crowded: bool,
    ) -> float:
        """Until all has run which runs already, or waits and does not go after that priority, and
        so much more of a group, of which the last batch has one stream and not all of them.
        """
        streams, batches = self._streams.count, self._batcher.batches
        seconds = max(self._streams.left(now) / streams, self._streams.rests_until - now)
        for key, waiting, of_them in self._batcher.ahead(priority):
            if key == group:
                samples += waiting
                tokens += of_them
            else:
                shared = self.shared(key[0], crowded=crowded)
                seconds += self._takes(key, waiting, batches(key, waiting, of_them), shared=shared)
        if group is not None:
            count = batches(group, samples, tokens)
            shared = self.shared(group[0], crowded=crowded)
            own = self._takes(group, samples, count, shared=shared)
            seconds += own
            if shared:
                seconds += (streams - 1) * own / max(count, min(streams, samples))
        return seconds

    def _takes(self, group: Group, samples: int, batches: int, *, shared: bool) -> float:
        """Seconds until so much of it has run, on one stream or all threads."""
        seconds = self._forecasts[shared].outlook(group[0]).takes(samples, batches)
        return seconds / self._streams.count if shared else seconds

    def measured(self, model: ModelKey, *, samples: int, seconds: float, shared: bool) -> None:
        """A batch of that many samples ran for so long."""
        self._forecasts[shared].measured(model, samples=samples, seconds=seconds)

    def learn(self, model: ModelKey, items: Sequence[Item[Job]], *, done: float) -> None:
        """How much later they were done with than each way of running had foretold."""
        for shared, forecast in self._forecasts.items():
            foretold = [i.payload.foretold for i in items if i.payload.shared == shared]
            if foretold:
                forecast.missed(model, foretold=foretold, done=done)
