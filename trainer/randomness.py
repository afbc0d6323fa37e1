"""Seeds without a state: f(seed, step, rank), so that a resumed run needs nothing restored."""

from __future__ import annotations

import numpy as np


def step_seed(seed: int, step: int, rank: int, *piece: int) -> int:
    """The seed of everything random inside one training step, such as dropout.

    `piece`: the number of the micro-batch, if the step's batch is cut.
    """
    sequence = np.random.SeedSequence([seed, step, rank, *piece])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
