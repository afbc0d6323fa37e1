"""Scraper: adds up the metrics of all processes, once for all who ask meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from serving.scrape import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.scrape import Scrape


class Scraper:
    """Of one API process. What it adds up it does on a thread of its own, one scrape at a time, and
    writes on another.
    """

    def __init__(self, gather: Callable[[], Scrape] = gather) -> None:
        self._gather = gather
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="scrape")
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Scrape] | None = None
        """The one that has not begun."""

    async def scrape(self) -> Scrape:
        """One that begins after it was asked for."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._take_turn())
        return await asyncio.shield(self._next)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """A scrape and its Content-Type, in the format that `accept` asks for."""
        found = await self.scrape()
        return await asyncio.get_running_loop().run_in_executor(self._threads, found.text, accept)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take_turn(self) -> Scrape:
        async with self._turn:
            self._next = None
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._gather)
