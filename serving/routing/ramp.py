"""Ramp: gives a challenger more traffic, one stage after the other, as long as it is no worse."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bundle.errors import RequestError
from bundle.registry.routing import WHOLE
from serving.routing.guardrail import STAGES, next_stage

if TYPE_CHECKING:
    from bundle.registry import Event, ModelRegistry

log = logging.getLogger(__name__)

WHO = "ramp"
"""Who made the change, in the registry's history."""


class Ramps:
    """Those that this server was asked for, by model. Others who change the split end them."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._running: dict[str, tuple[int, float]] = {}
        """The challenger's number and the percent that it was given last."""

    def begin(self, name: str, number: int, *, dry_run: bool, who: str) -> Event:
        """The first stage. Raises RequestError unless there is a champion to be compared with."""
        champion = self._registry.routing(name).champion
        if champion is None or champion == number:
            raise RequestError(
                f"version {number} of {name!r} has no other champion to be compared with",
                field="version",
            )
        event = self._split(name, champion, number, STAGES[0], dry_run=dry_run, who=who)
        if not dry_run:
            self._running[name] = (number, STAGES[0])
        return event

    def advance(self, name: str, number: int) -> bool:
        """The challenger is no worse: whether it has more traffic for that now.

        Raises RegistryError.
        """
        expected = self._running.get(name)
        if expected is None or expected[0] != number:
            return False
        percent = expected[1]
        routing = self._registry.routing(name)
        stage = next_stage(percent)
        if routing.champion is None or routing.shares.get(number) != percent or stage is None:
            log.info("a ramp ends: the split was changed", extra={"fields": {"model": name}})
            del self._running[name]
            return False
        if stage >= WHOLE:
            self._registry.promote(name, number, who=WHO)
            del self._running[name]
        else:
            self._split(name, routing.champion, number, stage, dry_run=False, who=WHO)
            self._running[name] = (number, stage)
        fields = {"model": name, "version": str(number), "percent": stage}
        log.info("a challenger advances", extra={"fields": fields})
        return True

    def _split(
        self, name: str, champion: int, number: int, percent: float, *, dry_run: bool, who: str
    ) -> Event:
        shares = {champion: WHOLE - percent, number: percent}
        return self._registry.split(name, shares, dry_run=dry_run, who=who)
