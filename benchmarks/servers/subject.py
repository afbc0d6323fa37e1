"""Subject: what every server but ours answers with, so that only the servers differ.

Needs numpy, onnxruntime and tokenizers, and is imported in environments that have nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = npt.NDArray[Any]
PREFIX = "BENCHMARK_"


@dataclass(frozen=True)
class Order:
    """What a server is asked to serve; travels in the environment."""

    graph: Path
    """The ONNX file; a tokenizer.json beside it makes its samples texts."""
    threads: int
    batch_size: int
    delay_ms: float
    port: int

    def environment(self) -> dict[str, str]:
        return {PREFIX + key.upper(): str(value) for key, value in vars(self).items()}

    @classmethod
    def read(cls) -> Order:
        """From the environment of this process."""
        value = {key: os.environ[PREFIX + key.upper()] for key in cls.__dataclass_fields__}
        return cls(
            graph=Path(value["graph"]),
            threads=int(value["threads"]),
            batch_size=int(value["batch_size"]),
            delay_ms=float(value["delay_ms"]),
            port=int(value["port"]),
        )


class Subject:
    """A model in ONNX Runtime, with its tokenizer if it reads texts."""

    def __init__(self, graph: Path, *, threads: int) -> None:
        """Raises RuntimeError if the session takes another number of threads."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],  # slower than its parts
        )
        found = self._session.get_session_options().intra_op_num_threads
        if found != threads:
            raise RuntimeError(f"the session has {found} threads where {threads} were asked for")
        self._name = self._session.get_inputs()[0].name
        self._tokenizer: Any = None
        tokenizer = graph.with_name("tokenizer.json")
        if tokenizer.is_file():
            # Only models of text need it.
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(128)

    @classmethod
    def load(cls, order: Order) -> Subject:
        return cls(order.graph, threads=order.threads)

    def row(self, sample: Any) -> Row:
        """A list of numbers, or a text, as one row: float32 (width,) or int64 (length,)."""
        if self._tokenizer is None:
            return np.asarray(sample, dtype=np.float32)
        return np.asarray(self._tokenizer.encode(sample).ids, dtype=np.int64)

    def run(self, rows: Sequence[Row]) -> list[list[float]]:
        """Rows, padded to the longest, as one batch."""
        feeds = {self._name: np.stack(rows)} if self._tokenizer is None else _padded(rows)
        (answers,) = self._session.run(None, feeds)
        return answers.tolist()  # type: ignore[no-any-return]

    def answer(self, bodies: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """One list of numbers for the `input` of each body."""
        return self.run([self.row(body["input"]) for body in bodies])


def _padded(rows: Sequence[Row]) -> dict[str, Row]:
    shape = (len(rows), max(map(len, rows)))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
