"""Failures: whether a challenger's share of failures is that much higher than the champion's."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from serving.routing.evidence import Evidence

if TYPE_CHECKING:
    from serving.routing.evidence import Floats
    from serving.routing.outcomes import Outcomes

LONGEST_TICKS = 60
"""What only one of the two did waits so long for the other, then it says nothing: a version that
hangs keeps the other one from the worker meanwhile."""
RECENT_BLOCKS = 60
"""Of which the reason speaks."""

MORE = [
    (a, b)
    for a in (0.001, 0.01, 0.05, 0.2, 0.5)
    for b in (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
    if b > 1.3 * a
]  # fmt: skip
NO_MORE = [
    *((a, a) for a in (0.002, 0.01, 0.03, 0.1, 0.25, 0.5)),
    *((a, a / 2) for a in (0.1, 0.25, 0.5)),
]
"""Proportions that are expected of champion and challenger."""


class Failures:
    """Of one challenger and the champion."""

    def __init__(self, *, margin: float, safe_margin: float) -> None:
        """`margin`: from which on it fails too often; `safe_margin`: below which it may have more.

        Both in the share of what fails.
        """
        self._safe_margin = safe_margin
        self._more = Evidence(MORE, margin=margin)
        self._recent: deque[Floats] = deque(maxlen=RECENT_BLOCKS)
        self._wait()
        self.next_stage()

    def next_stage(self) -> None:
        """What was seen does not speak for a larger share any more."""
        self._no_more = Evidence(NO_MORE, margin=self._safe_margin)
        self._compared = np.zeros(2)

    @property
    def compared(self) -> float:
        """Batches of either version in this stage."""
        return float(self._compared.min())

    def add(self, champion: Outcomes, challenger: Outcomes) -> None:
        """What ended in one tick."""
        self._block += [[champion.failed, champion.count], [challenger.failed, challenger.count]]
        self._waited += 1
        counts = self._block[:, 1]
        if counts.all():
            self._more.add([self._block])
            self._no_more.add([self._block])
            self._compared += counts
            self._recent.append(self._block)
        if counts.all() or self._waited == LONGEST_TICKS:
            self._wait()

    def are_more(self, alpha: float) -> bool:
        """Whether it fails more often, by `margin`; ever wrong with at most alpha."""
        return self._more.suffices(alpha)

    def safety(self, alpha: float) -> float:
        """From 1 on it fails less often, by `safe_margin`; wrong with at most alpha."""
        return self._no_more.share(alpha)

    def describe(self) -> str:
        """Of what was compared last."""
        (failed, count), (other_failed, other_count) = np.sum(self._recent, axis=0)
        return (
            f"of its batches' requests {other_failed / other_count:.1%} fail in the mean, of the "
            f"champion's {failed / count:.1%} (the last {other_count:.0f} and {count:.0f} batches)"
        )

    def _wait(self) -> None:
        self._block, self._waited = np.zeros((2, 2)), 0
