"""Ray Serve with its batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from benchmarks.servers.subject import Order, Row, Subject

if TYPE_CHECKING:
    from starlette.requests import Request

ORDER = Order.read()


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Deployment:
    """One replica."""

    def __init__(self) -> None:
        self.subject = Subject.load(ORDER)

    @serve.batch(max_batch_size=ORDER.batch_size, batch_wait_timeout_s=ORDER.delay_ms / 1e3)
    async def run(self, rows: list[Row]) -> list[list[float]]:
        return self.subject.run(rows)

    async def __call__(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        return {"output": await self.run(self.subject.row(body["input"]))}


def main() -> None:
    """Serve what the environment says."""
    ray.init(log_to_driver=False, include_dashboard=False, num_cpus=8)
    quiet = {"enable_access_log": False, "log_level": "ERROR"}
    serve.start(http_options={"host": "127.0.0.1", "port": ORDER.port}, logging_config=quiet)
    deployment: Any = Deployment  # what the decorator made of it
    serve.run(deployment.options(logging_config=quiet).bind(), route_prefix="/predict")
    threading.Event().wait()


if __name__ == "__main__":
    main()
