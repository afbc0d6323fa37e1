"""Seeds without a state: f(seed, step, rank), so that a resumed run needs nothing restored."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_MASK = 2**64 - 1


def step_seed(seed: int, step: int, rank: int, *piece: int) -> int:
    """The seed of everything random inside one training step, such as dropout.

    Number `step` of the SplitMix64 sequence of the rest (Steele, Lea and Flood, OOPSLA 2014).
    `piece`: the number of the micro-batch, if the step's batch is cut.
    """
    bits = (_start(seed, rank, *piece) + step * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return (bits ^ (bits >> 31)) >> 1


@lru_cache(maxsize=64)
def _start(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
