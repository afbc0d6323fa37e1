"""One server for the properties that are read off its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.running_server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running_server import RunningServer

DELAY_MS = 250.0


@pytest.fixture(scope="session")
def measured_server(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Eight samples at once, a quarter of a second of waiting for company."""
    with running_server(
        *("--model", str(bundles / "double.onnx"), "--model", str(bundles / "image")),
        *("--model", str(bundles / "log.onnx"), "--threads", "1", "--api-processes", "2"),
        *("--batch-size", "8", "--batch-delay-ms", str(DELAY_MS), "--timeout-ms", "240000"),
        *("--max-body-bytes", "100000", "--max-batch-instances", "64"),
        folder=tmp_path_factory.mktemp("measured"),
    ) as server:
        yield server
