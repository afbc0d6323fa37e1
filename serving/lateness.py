"""Lateness: how much later than foretold work is done."""

from __future__ import annotations

MEMORY = 15 / 16
"""Share of an average that the next measurement leaves as it was."""
DEVIATIONS = 2.0
"""Beyond the average, so that nearly all is in time."""


class Lateness:
    """Averages of the error of forecasts and of how far it strays, in seconds, as TCP has them of
    its round trips (RFC 6298).
    """

    def __init__(self) -> None:
        self._error = 0.0
        self._deviation = 0.0

    def measured(self, *, foretold: float, done: float) -> None:
        """Two times on the same clock."""
        error = done - foretold
        strays = abs(error - self._error)
        self._deviation = MEMORY * self._deviation + (1 - MEMORY) * strays
        self._error = MEMORY * self._error + (1 - MEMORY) * error

    @property
    def margin(self) -> float:
        """What to allow for on top of a forecast; never less than nothing."""
        return max(0.0, self._error + DEVIATIONS * self._deviation)
