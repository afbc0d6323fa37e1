"""Server processes: started, watched from outside, and ended with all their children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.servers.wrk import Post

START_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 15.0
_BUSY = 0.25
"""A thread computes if it has so large a share of the busiest one's time."""


Clocks = dict[tuple[int, int], float]
"""Seconds by process and thread."""


class NotStartedError(Exception):
    """A server that gave no good answer; the message is the end of its log."""


@dataclass(frozen=True)
class Server:
    """A process that answers, and its children."""

    url: str
    process: psutil.Process

    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> dict[int, float]:
        """Of each process so far."""
        found = {}
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found

    def thread_seconds(self) -> Clocks:
        """CPU time of each thread so far."""
        found = {}
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                for thread in process.threads():
                    found[process.pid, thread.id] = thread.user_time + thread.system_time
        return found


def busy_threads(before: Clocks, after: Clocks) -> int:
    """Threads that computed between two looks, in the process that computed most."""
    spent: defaultdict[int, list[float]] = defaultdict(list)
    for (process, thread), seconds in after.items():
        spent[process].append(seconds - before.get((process, thread), 0.0))
    most = max(spent.values(), key=sum, default=[])
    return sum(seconds >= _BUSY * max(most) for seconds in most)


@contextmanager
def running(
    command: Sequence[str],
    post: Post,
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """The server, from its first good answer to `post` on. Raises NotStartedError."""
    url = f"http://127.0.0.1:{port}"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env=dict(os.environ if environment is None else environment),
            start_new_session=True,
        )
    server = Server(url, psutil.Process(process.pid))
    try:
        _wait(process, url, post, log)
        yield server
    finally:
        end(process)


def _wait(process: subprocess.Popen[bytes], url: str, post: Post, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    seen = "no answer"
    with httpx.Client(base_url=url, headers=dict(post.headers), timeout=30.0) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                answer = client.post(post.path, content=post.bodies[0])
            except httpx.TransportError:
                time.sleep(_LOOK_SECONDS)
                continue
            if answer.status_code == httpx.codes.OK:
                return
            seen = f"status {answer.status_code}: {answer.text[:300]}"
            if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                break
            time.sleep(_LOOK_SECONDS)
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise NotStartedError("\n".join([seen, *tail]))


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, then kill whatever is left of its tree."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=_STOP_SECONDS)
    process.kill()
    process.wait()
