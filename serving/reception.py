"""Reception: where a worker is told what to run, and where it does at once what is quickly done."""

from __future__ import annotations

import logging
import time
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from serving.brevity import BRIEF_SECONDS
from serving.company import companies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving.company import Company
    from serving.job import Job
    from serving.streams import Turn
    from serving.transport import Link, Replies
    from serving.wire import Message
    from serving.work import WorkQueue

log = logging.getLogger(__name__)


class Reception:
    """A `Receiver`. What is brief runs on the port's own thread, which reads nothing meanwhile: to
    wake another thread for it, and then again the port's for its answer, takes about as long.
    """

    def __init__(self, queue: WorkQueue, attempt: Callable[[Turn[Job]], Replies]) -> None:
        """`attempt` runs a turn, or raises if that fails."""
        self._queue = queue
        self._attempt = attempt
        self._arrived: list[tuple[Link, Message]] = []
        """In this turn of the event loop."""

    def receive(self, link: Link, *messages: Message) -> None:
        """What an API process says."""
        self._arrived += [(link, message) for message in messages]

    def settle(self) -> Iterator[Replies]:
        """All is received that had come: what is brief is run, as much as begins within such a
        time, and the rest left to the loop.
        """
        arrived, self._arrived = self._arrived, []
        together = None if self._queue.busy else _companies(arrived)
        ends = time.monotonic() + BRIEF_SECONDS
        try:
            while together and (turn := self._queue.take_at_once(together[0])) is not None:
                del together[0]
                if (replies := self._try(turn)) is not None:
                    yield replies
                if time.monotonic() > ends:
                    break
        finally:
            left = arrived if together is None else chain(*(found.arrived for found in together))
            for link, entries in groupby(left, key=itemgetter(0)):
                self._queue_up(link, [message for _, message in entries])
            self._queue.rouse()

    def _try(self, turn: Turn[Job]) -> Replies | None:
        """None where it fails: to find out why may take long."""
        try:
            return self._attempt(turn)
        except Exception:  # noqa: BLE001 - the loop meets it again, and says so
            self._queue.hand_over(turn)
            return None

    def _queue_up(self, link: Link, messages: list[Message]) -> None:
        """A worker outlives what makes no sense; who says it is hung up on."""
        try:
            self._queue.receive(link, *messages)
        except Exception:
            log.exception("what an API process says makes no sense")
            link.close()

    def lost(self, link: Link) -> None:
        """The API process is gone: nobody waits for what it asked."""
        self._arrived = [entry for entry in self._arrived if entry[0] is not link]
        self._queue.lost(link)


def _companies(arrived: list[tuple[Link, Message]]) -> list[Company] | None:
    """None where one message makes no sense, too: which one is found as each is queued."""
    try:
        return companies(arrived)
    except Exception:  # noqa: BLE001 - the queue meets it again, and says so
        return None
