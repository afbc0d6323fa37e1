"""FastAPI with one sample at a time in its threads."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI

from benchmarks.servers.subject import Order, Subject


def main() -> None:
    """Serve what the environment says."""
    order = Order.read()
    subject = Subject.load(order)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        (output,) = subject.answer([body])
        return {"output": output}

    uvicorn.run(app, host="127.0.0.1", port=order.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
