"""Ways to do the same: how long each takes, and what that is of one of them."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.rounds import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def compare(ways: Mapping[str, Callable[[], object]], *, rounds: int, base: str) -> None:
    """Print the medians of alternating rounds, a line for each way, and their ratios to `base`."""
    turns = {name: partial(_seconds, run) for name, run in ways.items()}
    medians = {
        name: statistics.median(found) for name, found in take_turns(turns, rounds=rounds).items()
    }
    for name, median in medians.items():
        print(f"{name:6} {median * 1e3:8.3f} ms  {median / medians[base]:7.4f} of {base}")


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
