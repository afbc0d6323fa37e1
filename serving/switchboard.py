"""Switchboard: where messages to the server's processes go."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.slot import Child, Slot


class Switchboard:
    """Of the supervisor, which blocks on no process that does not listen: what finds no room in its
    pipe waits for the next `say`. A message must be shorter than a pipe's buffer, some 150 kB.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots

    @property
    def unsaid(self) -> bool:
        """Whether anything waits."""
        return any(slot.child is not None and slot.child.unsaid for slot in self._slots)

    def tell(self, kind: str, message: object) -> None:
        """To all processes of that kind."""
        for slot in self._slots:
            if slot.kind == kind:
                self.send(slot, message)

    def offer(self, kind: str, message: object) -> None:
        """The same, but lost where a process is not ready, or does not listen."""
        for slot in self._slots:
            child = slot.child
            if slot.kind == kind and child is not None and slot.ready and _has_room(child):
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
            slot.child.unsaid.append(message)
            _say(slot.child)

    def say(self) -> None:
        """What waits, as far as there is room."""
        for slot in self._slots:
            if slot.child is not None:
                _say(slot.child)


def _say(child: Child) -> None:
    while child.unsaid and _has_room(child):
        with contextlib.suppress(OSError):
            child.control.send(child.unsaid.popleft())


def _has_room(child: Child) -> bool:
    """Whether to tell it something takes no waiting."""
    room = select.poll()
    room.register(child.control, select.POLLOUT)
    return bool(room.poll(0))
