"""Loads: which model is asked, what it is sent, and how its servers may batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.servers.texts import lengths, texts
from benchmarks.servers.wrk import Post, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SAMPLES = 64
"""Different bodies of a load, but for the texts of mixed length."""
MIXED = 640
TOKENS = 32
SIDE = 224


@dataclass(frozen=True)
class Load:
    """The same for every server that is compared."""

    name: str
    model: str
    connections: int
    batch_size: int
    """Most samples of a batch."""
    delay_ms: float
    """Longest that a request waits for company."""
    threads: int
    """Of the engine, within one operator."""
    samples: Callable[[], list[Any]]
    """Rows of numbers, texts, or pictures."""
    stretch: int = 1
    """How many times as long it is made where a batch takes long: only whole batches count."""
    provider: str = "cpu"
    """What `serve.py` runs the model on."""

    def ours(self) -> Post:
        """For `serve.py`."""
        samples = self.samples()
        if self.model == "resnet18":
            return binary(self.model, [{"image": pixels} for pixels in samples])
        field = {"null": "x", "cnn": "pixels"}.get(self.model)
        if field is None:
            return Post("/predict", encode({"text": text} for text in samples))
        return Post("/predict", encode({"inputs": {field: row}} for row in samples))

    def plain(self, path: str = "/predict") -> Post:
        """For a server of one's own: the same sample under the name `input`."""
        return Post(path, encode({"input": sample} for sample in self.samples()))


def binary(model: str, rows: Sequence[Mapping[str, Any]]) -> Post:
    """The Open Inference Protocol, with the tensors behind the JSON. `rows`: arrays by tensor, all
    rows of the same shapes, without a batch dimension.
    """
    tensors = [
        {
            "name": name, "shape": [1, *array.shape], "datatype": array.dtype.name.upper(),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in rows[0].items()
    ]  # fmt: skip
    (head,) = encode([{"inputs": tensors, "parameters": {"binary_data_output": True}}])
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    bodies = (head + b"".join(array.tobytes() for array in row.values()) for row in rows)
    return Post(f"/v2/models/{model}/infer", tuple(bodies), headers)


def _numbers() -> list[Any]:
    rng = np.random.default_rng(0)
    return [row.tolist() for row in rng.normal(0, 1, (SAMPLES, 4)).round(3)]


def _pixels() -> list[Any]:
    return np.random.default_rng(0).integers(0, 256, (SAMPLES, 784)).tolist()  # type: ignore[no-any-return]


def _pictures() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, SIDE, SIDE), np.uint8) for _ in range(SAMPLES // 4)]


def loads(cores: int) -> dict[str, Load]:
    """By name. Light models compute on one thread, the others on every core, and under overload on
    all but one, which is left to the client and to whoever turns requests away.
    """
    found = (
        Load("null", "null", 32, 64, 2.0, 1, _numbers),
        Load("cnn", "cnn", 64, 32, 2.0, 1, _pixels),
        Load("minilm", "minilm", 64, 16, 5.0, cores, lambda: texts([TOKENS] * SAMPLES), 2),
        Load(
            "overload",
            "minilm",
            64,
            16,
            5.0,
            max(1, cores - 1),
            lambda: texts([TOKENS] * SAMPLES),
            2,
        ),
        Load("mixed", "minilm", 64, 16, 5.0, cores, lambda: texts(lengths(MIXED)), 2),
        Load("resnet18", "resnet18", 32, 16, 5.0, cores, _pictures, 3),
    )
    return {load.name: load for load in found}
