"""However many ask for the metrics, they are added up by one at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest
from prometheus_client.metrics_core import Metric

from serving.scrape import Scrape
from serving.scraper import Scraper


class Files:
    """What is added up, slowly: each scrape has a number."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.threads: list[str] = []

    def gather(self) -> Scrape:
        self.threads.append(threading.current_thread().name)
        number = len(self.threads)
        assert self.go.acquire(timeout=60)
        family = Metric("scrapes", "Which one it is.", "gauge")
        family.add_sample("scrapes", {}, number)
        return Scrape([family])


async def told(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def number(text: tuple[bytes, str]) -> float:
    return float(text[0].split(b"scrapes ")[-1].split()[0])


def test_who_asks_while_a_scrape_runs_shares_one_that_begins_later():
    async def test():
        files = Files()
        scraper = Scraper(files.gather)
        first = asyncio.ensure_future(scraper.text(""))
        await told(lambda: files.threads)
        later = [asyncio.ensure_future(scraper.text("")) for _ in range(20)]
        await asyncio.sleep(0.01)
        assert len(files.threads) == 1
        files.go.release(2)
        assert number(await first) == 1
        assert {number(text) for text in await asyncio.gather(*later)} == {2}
        files.go.release()
        assert number(await scraper.text("")) == 3
        scraper.close()
        assert {name.partition("_")[0] for name in files.threads} == {"scrape"}

    asyncio.run(test())


def test_who_gives_up_takes_it_from_nobody_else():
    async def test():
        files = Files()
        scraper = Scraper(files.gather)
        leaving, staying = (asyncio.ensure_future(scraper.scrape()) for _ in range(2))
        await told(lambda: files.threads)
        leaving.cancel()
        files.go.release()
        assert len((await staying).families) == 1
        scraper.close()

    asyncio.run(test())


def test_a_scrape_that_fails_fails_for_those_who_waited_for_it_alone():
    async def test():
        outcomes = iter([OSError("gone"), Scrape([])])

        def gather() -> Scrape:
            outcome = next(outcomes)
            if isinstance(outcome, OSError):
                raise outcome
            return outcome

        scraper = Scraper(gather)
        with pytest.raises(OSError, match="gone"):
            await scraper.scrape()
        assert (await scraper.scrape()).families == []
        scraper.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")],
)
def test_each_gets_the_format_that_it_asks_for(accept, kind):
    async def test():
        files = Files()
        files.go.release()
        scraper = Scraper(files.gather)
        content, content_type = await scraper.text(accept)
        scraper.close()
        assert content_type.startswith(kind)
        assert content.endswith(b"# EOF\n") == bool(accept)

    asyncio.run(test())
