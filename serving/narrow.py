"""Narrow engines: a model on one thread, where it pays to hold it twice."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from bundle.errors import TrainyardError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bundle.engine.base import InferenceEngine
    from serving.wire import Tensors

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 2**20
"""Of a model's file, above which there may be no memory for it twice."""
EXTERNAL = b"\x0a\x08location"
"""In an ONNX file whose weights are in other files, of whatever size: the key of where they are."""
SAMPLES = 4
"""Of a batch that is compared with one sample."""
LONGER = 2.0
"""Times as long as one sample it takes at least; else it is batches that save time, and those that
run beside each other are smaller.
"""
LONG_SECONDS = 0.005
"""What a full batch takes at least; else what it gains goes into handing it over."""
TRIES = 3
ENOUGH_SECONDS = 0.3
"""After so long one try is believed; a sample that takes so long needs no comparison."""


def open_narrow(
    load: Callable[[], InferenceEngine],
    *,
    check: Callable[[InferenceEngine], None],
    file: Path,
    sample: Tensors,
    batch_size: int,
) -> InferenceEngine | None:
    """What `load` makes of the file, if batches that run beside each other gain by it, and it
    passes the check. `sample`: one that the model answers, batch dimension in front where it has
    one.
    """
    if file.stat().st_size > MOST_BYTES or EXTERNAL in file.read_bytes():
        return None
    try:
        engine = load()
        if not _pays(engine, sample, batch_size=batch_size):
            return None
        check(engine)
    except TrainyardError as error:
        log.warning("%s runs no batches beside each other: %s", file.name, error)
        return None
    log.info("%s runs batches beside each other where requests wait", file.name)
    return engine


def _pays(engine: InferenceEngine, sample: Tensors, *, batch_size: int) -> bool:
    largest = batch_size if engine.batchable else 1
    several = min(SAMPLES, largest)
    batch = {name: np.repeat(array, several, axis=0) for name, array in sample.items()}
    one = many = math.inf
    began = time.monotonic()
    for _ in range(1 + TRIES):  # the first includes what is done once
        one = min(one, _seconds(engine, sample))
        if one > ENOUGH_SECONDS:
            return True
        many = min(many, _seconds(engine, batch))
        if time.monotonic() - began > ENOUGH_SECONDS:
            break
    if several == 1:
        return one >= LONG_SECONDS
    each = (many - one) / (several - 1)
    longer = (one + each * (SAMPLES - 1)) / one
    return longer >= LONGER and one + each * (largest - 1) >= LONG_SECONDS


def _seconds(engine: InferenceEngine, batch: Tensors) -> float:
    """Of this thread, and not of others that have its core meanwhile."""
    began = time.thread_time()
    engine.predict_batch(batch)
    return time.thread_time() - began
