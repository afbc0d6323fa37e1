"""BentoML with its adaptive batches."""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml

from benchmarks.servers.subject import Order, Subject

ORDER = Order.read()
PATIENCE_MS = 60_000
"""BentoML refuses what it expects to take longer than this, so it is long."""


@bentoml.service(workers=1, traffic={"timeout": PATIENCE_MS // 1000, "max_concurrency": 1024})
class Service:
    """Bodies of one sample, which BentoML puts together."""

    def __init__(self) -> None:
        self.subject = Subject.load(ORDER)

    @bentoml.api(batchable=True, max_batch_size=ORDER.batch_size, max_latency_ms=PATIENCE_MS)
    def predict(self, input: list[Any]) -> list[list[float]]:  # noqa: A002 - the body's field
        return self.subject.run([self.subject.row(sample) for sample in input])


def main() -> None:
    """Serve what the environment says."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    command = ["-m", "bentoml", "serve", "benchmarks.peers.adapters.bentoml:Service"]
    options = ["--host", "127.0.0.1", "--port", str(ORDER.port), "-q"]
    os.execv(sys.executable, [sys.executable, *command, *options])  # noqa: S606 - its own command


if __name__ == "__main__":
    main()
