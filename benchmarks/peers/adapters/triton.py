"""Triton with its dynamic batches and Python behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.servers.port import free_port
from benchmarks.servers.subject import Order, Subject

MODEL = "subject"


def main() -> None:
    """Serve what the environment says."""
    order = Order.read()
    subject = Subject.load(order)
    texts = order.graph.with_name("tokenizer.json").is_file()

    @batch
    def infer(input: Any) -> dict[str, Any]:  # noqa: A002 - the tensor's name
        samples = [one[0].decode() for one in input] if texts else list(input)
        answers = subject.run([subject.row(sample) for sample in samples])
        return {"output": np.asarray(answers, dtype=np.float32)}

    config = TritonConfig(
        http_address="127.0.0.1", http_port=order.port, grpc_port=free_port(),
        metrics_port=free_port(), log_verbose=0,
    )  # fmt: skip
    given = (
        Tensor(name="input", dtype=bytes, shape=(1,))
        if texts
        else Tensor(name="input", dtype=np.float32, shape=(-1,))
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=MODEL,
            infer_func=infer,
            inputs=[given],
            outputs=[Tensor(name="output", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(
                batching=True,
                max_batch_size=order.batch_size,
                batcher=DynamicBatcher(max_queue_delay_microseconds=round(order.delay_ms * 1e3)),
            ),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
