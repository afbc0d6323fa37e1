"""Forecast: when what waits will have run. Pure: it is told the time, and owns no clock.

Whoever joins a batch that would run anyway costs no more than one sample does: a queue is as long
as its batches are, and not as its samples, each of which might have run alone. Where that cannot
be told from what has run, as where all batches had one size, it counts as nothing: who is let in
for it shows what it takes, and who is kept out never does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from serving.batch import Pace
from serving.lateness import Lateness
from serving.service_time import ServiceTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.served_model import ModelKey


STALE = 1.0
"""Seconds, at least, after which one is let in to see what a model takes that has not run since."""
APART = 5
"""Of the model's batches that such trials lie apart at least: they take a small share."""


class Outlook(NamedTuple):
    """What there is to expect of a model, in seconds."""

    batch: float
    size: float
    """Samples of such a batch."""
    each: float
    """Of a sample more in it."""
    saves: float
    """By running along with others."""
    patience: float
    """How long it is worth waiting for those."""
    margin: float
    """Allowed for in every forecast."""
    pace: Pace | None
    """Where batches are known to take hardly more than their samples: what else they take would be
    paid again for whoever is left out of one.
    """

    def lasts(self, samples: int) -> float:
        """A batch of so many."""
        return self.batch + self.each * (samples - self.size)

    def takes(self, samples: int, batches: int) -> float:
        """So many that wait, in so many batches: who comes until they run joins them, so that they
        are no smaller than they are now.
        """
        more = samples - self.size * batches
        if more <= 0:
            return self.batch * batches
        return self.batch * batches + self.each * more


class Forecast:
    """Of one engine. Learns from what runs how long that takes, and from its own errors."""

    def __init__(self, *, delay: float, target: float | None) -> None:
        """In seconds: how long a sample waits for company at most, and what it may take in all."""
        self._delay = delay
        self._target = target
        self._models: dict[ModelKey, tuple[ServiceTime, Lateness]] = {}
        self._outlooks: dict[ModelKey, Outlook] = {}
        """As long as nothing new is known."""
        self._learned: dict[ModelKey, float] = {}
        """When something new was known last, or was about to be."""

    def outlook(self, model: ModelKey) -> Outlook:
        """By all that has run so far."""
        found = self._outlooks.get(model)
        if found is None:
            service, lateness = self._known(model)
            batch, size, each = service.batch, service.size, service.each
            fixed = batch - each * size
            found = self._outlooks[model] = Outlook(
                batch,
                size,
                each,
                service.saves,
                self._patience(batch),
                lateness.margin,
                Pace(fixed, each) if fixed <= each else None,
            )
        return found

    def measured(self, model: ModelKey, *, samples: int, seconds: float) -> None:
        """A batch of that many samples ran for so long."""
        self._known(model)[0].measured(samples=samples, seconds=seconds)
        self._outlooks.pop(model, None)

    def missed(self, model: ModelKey, *, foretold: Sequence[float], done: float) -> None:
        """What belongs together was done then, and should have been at these times: however much it
        is, it is one forecast that was wrong by so much.
        """
        service, lateness = self._known(model)
        mean = sum(foretold) / len(foretold)
        lateness.measured(foretold=mean, done=done, usual=service.batch or math.inf)
        self._learned[model] = done
        self._outlooks.pop(model, None)

    def tries(self, model: ModelKey, now: float) -> bool:
        """Whether to let one in though it would be late: where others are always before a model,
        nothing else would ever show that it has become faster.
        """
        if now - self._learned.get(model, now) < max(STALE, APART * self.outlook(model).batch):
            return False
        self._learned[model] = now
        return True

    def _known(self, model: ModelKey) -> tuple[ServiceTime, Lateness]:
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = (ServiceTime(), Lateness())
        return found

    def _patience(self, batch: float) -> float:
        """How long a sample waits for company: less where the batches alone take up the target."""
        if self._target is None:
            return self._delay
        return min(self._delay, max(0.0, self._target - 2 * batch))
