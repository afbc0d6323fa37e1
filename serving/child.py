"""A server as a child process, for notebooks, examples, benchmarks and tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

READY = "ready "
START_SECONDS = 120.0
STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.05


@contextmanager
def served(
    arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URL of `serve.py` with these arguments, drained and stopped at the end.

    It listens on a free port unless `arguments` name one. stderr goes to the file `log`;
    `environment` is added to this process's. Raises StartError, with the end of the log, if the
    server does not become ready.
    """
    command = [sys.executable, "-m", "serve", "--port", "0", *arguments]
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stderr=stream, env={**os.environ, **(environment or {})}
        )
    try:
        yield wait_until_ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL, once the log says `ready URL`. Raises StartError if that does not come."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        time.sleep(_LOOK_SECONDS)
    end = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
    raise StartError(f"the server did not become ready: {' '.join(end) or 'it said nothing'}")
