"""Bench: the servers and engines of one run, and how one is measured in its turn."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.servers.engine import Engine
from benchmarks.servers.port import free_port
from benchmarks.servers.process import Server, busy_threads, running
from benchmarks.servers.subject import Order
from benchmarks.servers.wrk import Post, press

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from benchmarks.servers.loads import Load
    from benchmarks.servers.models import Models

ROOT = Path(__file__).resolve().parents[2]
WARM_SECONDS = 1.0
SETTLE_SECONDS = 0.5
"""Until what the warming client left behind has run, where a server does not drop it."""
TOKENS = 512
"""Most tokens of a batch of texts, padding included."""


@dataclass(frozen=True)
class Bench:
    """Makes models when they are first asked for, and keeps the engines."""

    models: Models
    folder: Path
    """Where the logs go."""
    seconds: float
    """Length of a load."""
    _engines: dict[str, Engine] = field(default_factory=dict)

    def engine(self, load: Load) -> Engine:
        if load.name not in self._engines:
            self._engines[load.name] = Engine(load, self.models.graph(load.model))
        return self._engines[load.name]

    def ours(self, load: Load) -> AbstractContextManager[Server]:
        """With what `serve.py` does by default but for what every server is told."""
        uri = self.models.uri(load.model)
        return self.serve(uri, load.ours(), load, "--batch-tokens", str(TOKENS))

    @contextmanager
    def serve(self, uri: str, post: Post, load: Load, *more: str) -> Iterator[Server]:
        """`serve.py` with that model."""
        port = free_port()
        command = [
            sys.executable, str(ROOT / "serve.py"), "--model", uri, "--port", str(port),
            "--threads", str(load.threads), "--provider", load.provider,
            "--batch-size", str(load.batch_size), "--batch-delay-ms", str(load.delay_ms),
            "--drain-delay-ms", "0", *more,
        ]  # fmt: skip
        log = self.folder / "ours.log"
        with running(command, post, port=port, log=log, environment=plain()) as server:
            yield server

    @contextmanager
    def module(self, name: str, load: Load) -> Iterator[Server]:
        """`benchmarks.servers.<name>`, a server of another kind."""
        order = self.order(load)
        with running(
            [sys.executable, "-m", f"benchmarks.servers.{name}"],
            load.plain(),
            port=order.port,
            log=self.folder / f"{name}.log",
            environment=plain() | order.environment(),
        ) as server:
            yield server

    def order(self, load: Load) -> Order:
        return Order(
            graph=self.models.graph(load.model), threads=load.threads, port=free_port(),
            batch_size=load.batch_size, delay_ms=load.delay_ms,
        )  # fmt: skip


def plain() -> dict[str, str]:
    """This environment without settings of the server that the caller may have."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRAINYARD_")}
    return kept | {"PYTHONPATH": str(ROOT)}


def saturate(
    server: Server, post: Post, load: Load, *, seconds: float, threads: int | None = None
) -> dict[str, float]:
    """As many requests as the load's connections can make. `threads`: that must be seen to
    compute, where the model is heavy enough to tell; SystemExit if others are. A load with a
    `stretch` takes so many times the seconds.
    """
    seconds *= load.stretch
    press(server.url, post, connections=load.connections, seconds=WARM_SECONDS)
    time.sleep(SETTLE_SECONDS * load.stretch)
    cpu, clocks = server.cpu_seconds(), server.thread_seconds()
    pressed = press(server.url, post, connections=load.connections, seconds=seconds)
    if not pressed.requests:
        raise SystemExit(f"error: nothing was answered in {seconds:g} s; take longer rounds")
    busy = busy_threads(clocks, server.thread_seconds())
    if threads is not None and busy != threads:
        raise SystemExit(f"error: {busy} threads computed where {threads} were asked for")
    spent = sum(server.cpu_seconds().values()) - sum(cpu.values())
    return {
        "per_second": pressed.per_second,
        "p50_ms": pressed.p50_ms,
        "p99_ms": pressed.p99_ms,
        "cpu_per_1000": spent / pressed.requests * 1e3,
    }
