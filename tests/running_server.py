"""The real server, as its users start it: `serve.py` in a process tree of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psutil

from tests.scrape import Scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 200.0
"""How long a start may take: a busy machine is no failure."""
STOP_SECONDS = 30.0
CLIENT_SECONDS = 240.0
"""How long an answer may take: a busy machine is no failure."""


@dataclass
class RunningServer:
    """A server that has said `ready`."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, for a socket."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def client(self) -> httpx.Client:
        """Usable from many threads at once."""
        # Without certificates, which take longer to load than most requests take.
        limits = httpx.Limits(max_connections=200)
        return httpx.Client(base_url=self.url, timeout=CLIENT_SECONDS, verify=False, limits=limits)

    def children(self, kind: str = "") -> list[psutil.Process]:
        """The processes below the server; "worker" or "api" picks those of one kind."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        names = {child: _name(child) for child in below}
        return [child for child, name in names.items() if name and name.startswith(kind)]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return self.scrape().total(name, **labels)

    def scrape(self) -> Scrape:
        """All metrics as they are now."""
        with self.client() as client:
            return Scrape(client.get("/metrics").text)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code."""
        return self.process.wait(timeout=seconds)


def _name(process: psutil.Process) -> str:
    """Empty for a process that has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.Error:
        return ""


def start(
    arguments: list[str], *, log_file: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the command; its stderr goes to the file."""
    with log_file.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "serve.py"), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            cwd=log_file.parent,
            env=_environment() | (environment or {}),
        )


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def running_server(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[RunningServer]:
    """A server on a free port, which is stopped at the end if it still runs."""
    log_file = folder / f"serve-{time.monotonic_ns()}.log"
    process = start(["--port", "0", *arguments], log_file=log_file, environment=environment)
    try:
        yield RunningServer(process, _wait_until_ready(process, log_file), log_file)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run_until_exit(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """The exit code and the stderr of a command that is expected to end by itself."""
    log_file = folder / f"serve-{time.monotonic_ns()}.log"
    process = start(["--port", "0", *arguments], log_file=log_file, environment=environment)
    try:
        code = process.wait(timeout=START_SECONDS)
    finally:
        process.kill()
        process.wait()
    return code, log_file.read_text(encoding="utf-8")


def _wait_until_ready(process: subprocess.Popen[bytes], log_file: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log_file.read_text(encoding="utf-8").splitlines():
            if line.startswith("ready "):
                return line.removeprefix("ready ")
        time.sleep(0.05)
    raise AssertionError(f"the server did not become ready:\n{log_file.read_text()}")


def _environment() -> dict[str, str]:
    """Ours, without any setting of the server."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TRAINYARD_")}
