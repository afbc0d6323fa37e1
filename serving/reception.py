"""Reception: where a worker is told what to run, and where it does at once what is quickly done."""

from __future__ import annotations

import itertools
from operator import itemgetter
from typing import TYPE_CHECKING

from serving.vital import vital

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving.job import Job
    from serving.streams import Turn
    from serving.transport import Link, Replies
    from serving.wire import Message
    from serving.work import WorkQueue


class Reception:
    """A `Receiver`. What takes hardly longer than to wake another thread for it runs on the port's
    own, which reads nothing meanwhile; so it waits for no thread, nor its answer for another.
    """

    def __init__(self, queue: WorkQueue, run: Callable[[Turn[Job]], Replies]) -> None:
        self._queue = queue
        self._run = run
        self._arrived: list[tuple[Link, Message]] = []
        """In this turn of the event loop."""

    def receive(self, link: Link, *messages: Message) -> None:
        """What an API process says."""
        self._arrived += [(link, message) for message in messages]

    def settle(self) -> Iterator[Replies]:
        """All is received that had come: run what is brief, and leave the rest to the loop."""
        with vital("port"):
            arrived, self._arrived = self._arrived, []
            turn = self._queue.take_at_once(arrived)
            if turn is not None:
                yield self._run(turn)
                return
            for link, together in itertools.groupby(arrived, key=itemgetter(0)):
                self._queue.receive(link, *(message for _, message in together))
            while (turn := self._queue.take_brief()) is not None:
                yield self._run(turn)
            self._queue.rouse()

    def lost(self, link: Link) -> None:
        """The API process is gone: nobody waits for what it asked."""
        self._arrived = [entry for entry in self._arrived if entry[0] is not link]
        self._queue.lost(link)
