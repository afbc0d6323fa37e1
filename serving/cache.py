"""RowCache: tensors of images and texts that were preprocessed before, found by their content."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bundle.preprocessing.config import PreprocessingConfig
    from bundle.preprocessing.preprocessor import DataPreprocessor
    from serving.wire import Tensors

OVERHEAD_BYTES = 512
"""What an entry takes besides its arrays."""

_Key = tuple["PreprocessingConfig", bytes]


class Meter(Protocol):
    """What a cache asks of the MetricsCollector."""

    def cache(self, model: tuple[str, str, str], *, hit: bool) -> None: ...

    def cache_bytes(self, size: int) -> None: ...


class RowCache:
    """Bounded in bytes; what was not asked for longest goes first. Safe to use from many threads.

    Models of the same preprocessing share their rows. The content is known by its sha256: nobody
    can make a picture that is taken for another one.
    """

    def __init__(self, most_bytes: int, *, metrics: Meter) -> None:
        self._most = most_bytes
        self._metrics = metrics
        self._rows: OrderedDict[_Key, tuple[Tensors, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def row(
        self, preprocessor: DataPreprocessor, sample: Any, *, model: tuple[str, str, str]
    ) -> Tensors:
        """As `preprocessor(sample)` says, which is asked if need be. Raises what it raises.

        `sample`: bytes or a str. `model`: name, version and variant, for the metrics.
        """
        content = sample.encode("utf-8", "surrogatepass") if isinstance(sample, str) else sample
        key = (preprocessor.config, hashlib.sha256(content).digest())
        with self._lock:
            found = self._rows.get(key)
            if found is not None:
                self._rows.move_to_end(key)
        self._metrics.cache(model, hit=found is not None)
        if found is not None:
            return found[0]
        row = preprocessor(sample)
        for array in row.values():
            array.flags.writeable = False  # it has more than one reader from now on
        self._keep(key, row)
        return row

    def _keep(self, key: _Key, row: Tensors) -> None:
        size = sum(array.nbytes for array in row.values()) + OVERHEAD_BYTES
        if size > self._most:
            return
        with self._lock:
            if key in self._rows:  # another thread was faster
                return
            self._rows[key] = (row, size)
            self._bytes += size
            while self._bytes > self._most:
                _, (_, gone) = self._rows.popitem(last=False)
                self._bytes -= gone
            held = self._bytes
        self._metrics.cache_bytes(held)
