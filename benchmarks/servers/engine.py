"""The bare engine: the fastest that a server with the same threads could be."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.servers.texts import text_preprocessor
from bundle.engine.onnx import OnnxEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.servers.loads import Load
    from bundle.engine.base import InferenceEngine

    Batch = dict[str, Any]


class Engine:
    """A load's model, and its samples as rows that are ready to run."""

    def __init__(self, load: Load, graph: Path) -> None:
        self._engine = OnnxEngine(graph, provider="cpu", threads=load.threads)
        threads = self._engine.metadata()["threads"]
        if threads != load.threads:
            raise SystemExit(f"error: the engine runs {threads} threads, not {load.threads}")
        self._load = load
        tokenizer = graph.with_name("tokenizer.json")
        self._texts = text_preprocessor(tokenizer.read_bytes()) if tokenizer.is_file() else None
        self._rows = [self._row(sample) for sample in load.samples()]

    def lone_ms(self, seconds: float) -> float:
        """Median time of one sample alone, in milliseconds."""
        return full_speed(self._engine, self._batch(self._rows[:1]), size=1, seconds=seconds)[1]

    def full(self, seconds: float) -> tuple[float, float]:
        """Samples a second in full batches, and a batch's median time in milliseconds."""
        size = self._load.batch_size
        batch = self._batch((self._rows * size)[:size])
        return full_speed(self._engine, batch, size=size, seconds=seconds)

    def sorted(self, seconds: float, *, tokens: int) -> float:
        """Samples a second where those that could wait together, as many as there are connections,
        are sorted by length and cut so that no batch has more tokens, padding included.
        """
        batches = [
            self._batch(part)
            for first in range(0, len(self._rows), self._load.connections)
            for part in cut(
                sorted(self._rows[first : first + self._load.connections], key=_length),
                batch_size=self._load.batch_size,
                tokens=tokens,
            )
        ]
        count, spent, began = 0, 0.0, time.perf_counter()
        while spent < seconds:
            for batch in batches:
                self._engine.predict_batch(batch)
            count += len(self._rows)
            spent = time.perf_counter() - began
        return count / spent

    def _row(self, sample: Any) -> dict[str, Any]:
        if self._texts is not None:
            return dict(self._texts(sample))
        (spec,) = self._engine.inputs
        return {spec.name: np.asarray(sample).astype(spec.dtype).reshape(spec.shape[1:])}

    def _batch(self, rows: Sequence[dict[str, Any]]) -> Batch:
        if self._texts is not None:
            return dict(self._texts.collate(rows))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def full_speed(
    engine: InferenceEngine, batch: Batch, *, size: int, seconds: float
) -> tuple[float, float]:
    """Samples a second, and the median time in milliseconds, of runs of a batch of so many, one
    after another, the first left out.
    """
    engine.predict_batch(batch)
    times: list[float] = []
    while sum(times) < seconds:
        began = time.perf_counter()
        engine.predict_batch(batch)
        times.append(time.perf_counter() - began)
    return size * len(times) / sum(times), statistics.median(times) * 1e3


def cut(
    rows: Sequence[dict[str, Any]], *, batch_size: int, tokens: int
) -> list[list[dict[str, Any]]]:
    """Batches of rows that come sorted by length."""
    batches: list[list[dict[str, Any]]] = []
    for row in rows:
        last = batches[-1] if batches else None
        if last is None or len(last) == batch_size or _length(row) * (len(last) + 1) > tokens:
            batches.append([row])
        else:
            last.append(row)
    return batches


def _length(row: dict[str, Any]) -> int:
    return max(len(array) for array in row.values())
