"""MLServer with one parallel worker and its batches."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.servers.port import free_port
from benchmarks.servers.subject import Order, Subject

MODEL = "subject"


class SubjectModel(MLModel):
    """Requests that MLServer has put together along the first dimension."""

    async def load(self) -> bool:
        self.subject = Subject.load(Order.read())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        count, width = tensor.shape[0], (tensor.shape[1:] or [1])[0]
        flat = list(tensor.data)
        samples = flat if width == 1 else [flat[i * width : (i + 1) * width] for i in range(count)]
        answers = self.subject.run([self.subject.row(sample) for sample in samples])
        output = ResponseOutput(
            name="output", shape=[count, len(answers[0])], datatype="FP32",
            data=[number for row in answers for number in row],
        )  # fmt: skip
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Serve what the environment says, from settings in this folder."""
    order = Order.read()
    settings = {
        "host": "127.0.0.1", "http_port": order.port, "grpc_port": free_port(),
        "metrics_port": free_port(), "parallel_workers": 1, "debug": False,
    }  # fmt: skip
    model = {
        "name": MODEL, "implementation": "benchmarks.peers.adapters.mlserver.SubjectModel",
        "max_batch_size": order.batch_size, "max_batch_time": order.delay_ms / 1e3,
    }  # fmt: skip
    Path("settings.json").write_text(json.dumps(settings), encoding="utf-8")
    Path("model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    command = str(Path(sys.executable).with_name("mlserver"))
    os.execv(command, [command, "start", "."])  # noqa: S606 - its own command


if __name__ == "__main__":
    main()
