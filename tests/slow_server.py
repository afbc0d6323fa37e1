"""A server of a model that takes as long as its input says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import psutil

from tests.running_server import RunningServer, eventually, running_server

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

SECOND_OF_WORK = 5000
"""Rounds of the slow model that take about a second."""


def start(
    bundles: Path, folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> AbstractContextManager[RunningServer]:
    model = str(bundles / "slow.onnx")
    arguments = ("--model", model, "--threads", "1", *arguments)
    return running_server(*arguments, folder=folder, environment=environment)


def ask(server: RunningServer, work: int = 1) -> httpx.Response:
    with server.client() as client:
        return client.post("/predict", json={"inputs": {"work": work}})


def health(server: RunningServer) -> tuple[int, str]:
    """The status code and the status of /health; (0, "") if it cannot be reached."""
    with server.client() as client:
        try:
            response = client.get("/health")
        except httpx.TransportError:
            return 0, ""
        return response.status_code, response.json()["status"]


def in_flight(server: RunningServer, count: int) -> None:
    """Wait until that many connections are used."""

    def used() -> int:
        return sum(
            connection.status == psutil.CONN_ESTABLISHED
            for process in server.children("api")
            for connection in process.net_connections("tcp")
        )

    eventually(lambda: used() >= count)
