"""Requests without pause, beside whatever a test does."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.followed_model import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running_server import RunningServer


@contextmanager
def traffic(
    server: RunningServer, *, clients: int = 4, pause: float = 0.0
) -> Iterator[tuple[list[int], list[float]]]:
    """What requests by ever new keys were answered, and the seconds that /health took."""
    statuses: list[int] = []
    health: list[float] = []
    done = threading.Event()

    def predict(number: int) -> None:
        with server.client() as client:
            count = 0
            while not done.wait(pause):
                count += 1
                statuses.append(ask(client, key=f"{number}-{count}").status_code)

    def probe() -> None:
        with server.client() as client:
            while not done.wait(0.02):
                began = time.monotonic()
                assert client.get("/health").status_code == 200
                health.append(time.monotonic() - began)

    with ThreadPoolExecutor(clients + 1) as pool:
        running = [pool.submit(predict, number) for number in range(clients)]
        running.append(pool.submit(probe))
        try:
            yield statuses, health
        finally:
            done.set()
        for future in running:
            future.result()
