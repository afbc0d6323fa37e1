"""Stock LitServe, as its documentation serves a model in batches."""

from __future__ import annotations

from typing import Any

import litserve

from benchmarks.servers.subject import Order, Row, Subject


class StockApi(litserve.LitAPI):  # type: ignore[misc] # LitServe ships no types
    """Decodes a request, runs a batch, encodes an answer."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self.subject = Subject.load(Order.read())

    # LitServe makes a route's parameter of an annotation, and of none the JSON of the body.
    def decode_request(self, request):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        return self.subject.row(request["input"])

    def batch(self, inputs: list[Row]) -> list[Row]:
        return inputs

    def predict(self, x: list[Row]) -> list[list[float]]:
        return self.subject.run(x)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"output": output}


def main() -> None:
    """Serve what the environment says."""
    order = Order.read()
    api = StockApi(max_batch_size=order.batch_size, batch_timeout=order.delay_ms / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=order.port,
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
