"""LineLimit: whoever sends many requests must not fill the disk with lines about them."""

from __future__ import annotations

import time

MOST_LINES_A_SECOND = 10


class LineLimit:
    """Of one kind of line in one process: what comes beyond it is counted in the next line."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def admit(self, fields: dict[str, object]) -> bool:
        """Whether a line may be written now; its fields tell in `left_out` how many were not."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= MOST_LINES_A_SECOND:
            self._left_out += 1
            return False
        self._lines += 1
        if self._left_out:
            fields["left_out"] = self._left_out
            self._left_out = 0
        return True
