"""How long /health takes, asked by a process that does nothing else.

    python -m tests.health_probe HOST PORT

asks until its standard input ends, then writes a JSON list of [when it was due, seconds from then
to the answer], by time.monotonic, which all processes of a machine share.
"""

from __future__ import annotations

import gc
import http.client
import json
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.running_server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD = 0.005
"""Seconds between two questions; those that an answer keeps waiting are late from when they were
due.
"""

Probes = list[tuple[float, float]]


@contextmanager
def health_probe(url: str) -> Iterator[Probes]:
    """The list is filled at the end."""
    parts = urlsplit(url)
    probes: Probes = []
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.health_probe", str(parts.hostname), str(parts.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield probes
        out, _ = process.communicate("")
        probes += [(due, seconds) for due, seconds in json.loads(out)]
    finally:
        process.kill()
        process.wait()


def _probe(host: str, port: int) -> Probes:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    found: Probes = []
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
        if response.status != http.HTTPStatus.OK:
            raise SystemExit(f"/health is {response.status}")
        found.append((due, time.monotonic() - due))
        due += PERIOD
    return found


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(_probe(sys.argv[1], int(sys.argv[2]))))
