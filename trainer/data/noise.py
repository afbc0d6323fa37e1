"""Random numbers without a state: f(seed, epoch, index), the same in every process and batch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.data.samples import IntArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(
    seed: int, epoch: int, indices: IntArray, *, count: int, stream: int = 0
) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each index, (len(indices), count).

    Row i depends on (seed, epoch, indices[i], stream) alone, and number j of a row does not depend
    on `count`. Each row is a SplitMix64 sequence (Steele, Lea and Flood, OOPSLA 2014).
    """
    key = np.uint64(_key(seed, epoch, stream))
    starts = _mix(_mix(indices.astype(np.uint64) * _GOLDEN + key))  # (B,)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN  # (count,)
    bits = _mix(starts[:, np.newaxis] + steps)  # (B, count)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=64)
def _key(seed: int, epoch: int, stream: int) -> int:
    words = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)
    return int(words[0])


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
