"""Narrow engines: a model on the threads of one stream, where it pays to hold it twice."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bundle.engine.base import InferenceEngine
    from serving.wire import Tensors

MOST_BYTES = 256 * 2**20
"""Of a model's file, above which there may be no memory for it twice."""
SAMPLES = 4
"""Of a batch from which it is told what a full one takes."""
LONG_SECONDS = 0.005
"""What a full batch takes at least; else what it gains goes into handing it over."""
TRIES = 3
ENOUGH_SECONDS = 0.3
"""After so long one try is believed."""


def open_narrow(
    load: Callable[[], InferenceEngine], *, file: Path, sample: Tensors, batch_size: int
) -> InferenceEngine | None:
    """What `load` makes of the file, if batches that run beside each other gain by it. `sample`:
    one that the model answers, batch dimension in front where it has one.
    """
    if file.stat().st_size > MOST_BYTES:
        return None
    engine = load()
    return engine if _pays(engine, sample, batch_size=batch_size) else None


def _pays(engine: InferenceEngine, sample: Tensors, *, batch_size: int) -> bool:
    several = min(SAMPLES, batch_size) if engine.batchable else 1
    batch = {name: np.repeat(array, several, axis=0) for name, array in sample.items()}
    one = many = math.inf
    began = time.monotonic()
    for _ in range(1 + TRIES):  # the first includes what is done once
        one, many = min(one, _seconds(engine, sample)), min(many, _seconds(engine, batch))
        if time.monotonic() - began > ENOUGH_SECONDS:
            break
    each = (many - one) / (several - 1) if several > 1 else 0.0
    return one + each * (batch_size - 1) >= LONG_SECONDS


def _seconds(engine: InferenceEngine, batch: Tensors) -> float:
    """Of this thread, and not of others that have its core meanwhile."""
    began = time.thread_time()
    engine.predict_batch(batch)
    return time.thread_time() - began
