"""Rounds: sides of a comparison that take turns, and what their ratio is."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from optimize.timing import ROUNDS, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A median and its 95 % bootstrap interval; of fewer than 6 values, which have none, the lowest
    and the highest; of one alone nothing.
    """

    median: float
    low: float | None
    high: float | None

    def shown(self, form: Callable[[float], str]) -> str:
        """For people; `form` writes a number."""
        if self.low is None or self.high is None:
            return form(self.median)
        return f"{form(self.median)} [{form(self.low)}, {form(self.high)}]"


def take_turns(sides: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Every side once a round; each round the other way round."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(list(sides)))
        for name in order:
            found[name].append(sides[name]())
    return found


def interval(values: Sequence[float]) -> Interval:
    """The resampling is the same in every run."""
    if len(values) == 1:
        return Interval(values[0], None, None)
    if len(values) < ROUNDS:
        return Interval(statistics.median(values), min(values), max(values))
    low, high = bootstrap_interval(np.asarray(values, dtype=np.float64))
    return Interval(statistics.median(values), low, high)


def brackets(rounds: int) -> str:
    """What stands in them behind a median."""
    return "lowest and highest" if rounds < ROUNDS else "95 % interval"


def ratio(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Of `one` to `other`, round by round."""
    return interval([a / b for a, b in zip(one, other, strict=True)])
