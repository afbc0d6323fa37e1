"""Lateness: how much later than foretold work is done."""

from __future__ import annotations

import math

MEMORY = 15 / 16
"""Share of an average that the next measurement leaves as it was."""
DEVIATIONS = 2.0
"""Beyond the average, so that nearly all is in time."""
FARTHEST = 4.0
"""Deviations that an error may stray: what strays farther happened once, and foretells nothing. If
it goes on, the deviation grows with it.
"""


class Lateness:
    """Averages of the error of forecasts and of how far it strays, in seconds, as TCP has them of
    its round trips (RFC 6298).
    """

    def __init__(self) -> None:
        self._error = 0.0
        self._deviation = 0.0

    def measured(self, *, foretold: float, done: float, usual: float = math.inf) -> None:
        """Two times on the same clock. `usual`: how wrong a forecast may be without being an
        exception, before it is known how far errors stray.
        """
        strays = done - foretold - self._error
        reach = usual + FARTHEST * self._deviation
        strays = max(-reach, min(reach, strays))
        self._deviation = MEMORY * self._deviation + (1 - MEMORY) * abs(strays)
        self._error += (1 - MEMORY) * strays

    @property
    def margin(self) -> float:
        """What to allow for on top of a forecast; never less than nothing."""
        return max(0.0, self._error + DEVIATIONS * self._deviation)
