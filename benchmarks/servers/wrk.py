"""wrk: a compiled client that posts the same bodies from many connections, on one thread."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCRIPT = Path(__file__).with_name("post.lua")
JSON = {"Content-Type": "application/json"}
_TIMEOUT = 60
"""Longest that an answer may take, in seconds."""


def check_installed() -> None:
    """Raises SystemExit if there is no wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk makes the load and is not installed; install it (Debian: wrk)")


@dataclass(frozen=True)
class Post:
    """What is sent, over and over: the bodies in turn."""

    path: str
    bodies: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def encode(bodies: Iterable[Any]) -> tuple[bytes, ...]:
    """As JSON."""
    return tuple(json.dumps(body, separators=(",", ":")).encode() for body in bodies)


@dataclass(frozen=True)
class Pressed:
    """What wrk saw."""

    requests: int
    """Answered, errors included."""
    refused: int
    """Answered with a status of 400 or more."""
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def offered(self) -> float:
        """Requests a second, with whatever answer."""
        return self.requests / self.seconds

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (self.requests - self.refused) / self.seconds


def press(
    url: str,
    post: Post,
    *,
    connections: int,
    seconds: float,
    think_seconds: float = 0.0,
    refusals: bool = False,
) -> Pressed:
    """Without `think_seconds` each connection asks again as soon as it is answered; with it, it
    waits so long on average, and many of them together arrive like strangers do.

    Raises SystemExit where requests failed: broken connections ever, refused ones unless
    `refusals`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"{key}: {value}\n" for key, value in post.headers.items()]
        (folder / "headers").write_text("".join(lines), encoding="utf-8")
        for index, body in enumerate(post.bodies, start=1):
            (folder / str(index)).write_bytes(body)
        command = [
            "wrk", "--threads=1", f"--connections={connections}",
            f"--duration={max(1, round(seconds))}s", f"--timeout={_TIMEOUT}s",
            f"--script={SCRIPT}", url + post.path, "--",
            str(folder), str(len(post.bodies)), str(think_seconds * 1e3),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if (found := read(done.stdout)) is None:
        raise SystemExit(f"error: wrk failed\n{done.stdout}{done.stderr}")
    pressed, broken = found
    if broken or (pressed.refused and not refusals):
        raise SystemExit(f"error: requests failed\n{done.stdout}")
    return pressed


def read(output: str) -> tuple[Pressed, int] | None:
    """What the script printed, and the number of broken connections."""
    found = re.search(r"FIGURES (\d+) (\d+) (\S+) (\S+) (\d+) (\d+)", output)
    if found is None:
        return None
    requests, microseconds, refused, broken = (int(found[index]) for index in (1, 2, 5, 6))
    p50, p99 = float(found[3]) / 1e3, float(found[4]) / 1e3
    return Pressed(requests, refused, microseconds / 1e6, p50, p99), broken


def crowd(rate: float, *, answer_seconds: float, think_seconds: float = 1.0) -> tuple[int, float]:
    """Connections, and how long each thinks, that make `rate` requests a second together where an
    answer takes about so long. At most 512, which then think less.
    """
    connections = max(1, min(512, math.ceil(rate * (think_seconds + answer_seconds))))
    return connections, max(0.001, connections / rate - answer_seconds)
