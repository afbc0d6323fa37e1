"""What becomes of samples that cannot be used: an error at once, or a list that is reported."""

from __future__ import annotations

import logging

from trainer.errors import DataError

log = logging.getLogger(__name__)

SHOWN = 5
"""How many rejected samples a log line names."""


class Rejects:
    """Collects unusable samples if `on_error` is "skip"; the first one raises if it is "fail"."""

    def __init__(self, *, where: str, on_error: str) -> None:
        self._where = where
        self._on_error = on_error
        self._found: list[str] = []

    @property
    def found(self) -> tuple[str, ...]:
        """`name: reason` of each, in the order of discovery."""
        return tuple(self._found)

    def add(self, name: str, reason: object) -> None:
        """Raises DataError unless such samples are to be skipped."""
        if self._on_error != "skip":
            raise DataError(
                f"{self._where}: {name}: {reason}",
                field="data.root",
                remedy="repair or remove it; data.on_error=skip leaves such samples out",
            )
        self._found.append(f"{name}: {reason}")

    def report(self, *, total: int) -> None:
        """Log how many of `total` samples were left out, and the first of them."""
        if self._found:
            more = "; …" if len(self._found) > SHOWN else ""
            log.warning(
                "%s: %d of %d samples cannot be used and were skipped: %s%s",
                self._where,
                len(self._found),
                total,
                "; ".join(self._found[:SHOWN]),
                more,
            )
