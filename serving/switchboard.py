"""Switchboard: where messages to the server's processes go."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.slot import Slot


class Switchboard:
    """Of the supervisor, which blocks on nothing that a process does not hear."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots

    def tell(self, kind: str, message: object) -> None:
        """To all processes of that kind."""
        for slot in self._slots:
            if slot.kind == kind:
                self.send(slot, message)

    def offer(self, kind: str, message: object) -> None:
        """The same, but lost where a process is not ready, or does not listen."""
        for slot in self._slots:
            if slot.kind == kind and slot.child is not None and slot.ready:
                room = select.poll()
                room.register(slot.child.control, select.POLLOUT)
                if room.poll(0):
                    self.send(slot, message)

    def find(self, kind: str, index: int) -> Slot | None:
        """The slot, if a process fills it that is ready to hear."""
        for slot in self._slots:
            if (slot.kind, slot.index) == (kind, index) and slot.ready:
                return slot
        return None

    def send(self, slot: Slot, message: object) -> None:
        """To a process that may be dying: then its end says so, and there is nothing to add."""
        if slot.child is not None:
            with contextlib.suppress(OSError):
                slot.child.control.send(message)
